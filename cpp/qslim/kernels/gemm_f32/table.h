// SPDX-License-Identifier: Apache-2.0
//
// The rows of kernels.inc as a table. For drivers, tests and benchmarks; per-ISA files do not include this.
#pragma once

#include "qslim/core/isa.h"
#include "qslim/kernels/conv_blocks/layouts.h"
#include "qslim/kernels/gemm_f32/kernels.h"

namespace qslim {

struct GemmF32Kernel {
  Isa isa;
  const char* name;
  GemmLayout layout;
  GatherF32Fn gather;
  GemmF32Fn multiply;
};

constexpr GemmF32Kernel kGemmF32Kernels[] = {
#define QSLIM_GEMM_F32_KERNELS(isa, suffix, lanes, max_vectors) \
  {isa, "gemm_f32_" #suffix, {lanes, max_vectors, 1, false}, gather_f32_##suffix, gemm_f32_##suffix},
#include "qslim/kernels/gemm_f32/kernels.inc"
#undef QSLIM_GEMM_F32_KERNELS
};

}  // namespace qslim
