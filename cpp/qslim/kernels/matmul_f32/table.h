// SPDX-License-Identifier: Apache-2.0
//
// The rows of kernels.inc as a table. For drivers, tests and benchmarks; per-ISA files do not include this.
#pragma once

#include "qslim/core/isa.h"
#include "qslim/kernels/matmul_f32/kernels.h"
#include "qslim/kernels/movement/kernels.h"

namespace qslim {

struct MatmulF32Kernels {
  Isa isa;
  MatmulTileFn tile;
  MatmulWideFn wide;
  TransposeFn<std::uint32_t> transpose;
};

constexpr MatmulF32Kernels kMatmulF32Kernels[] = {
#define QSLIM_MATMUL_F32_KERNELS(isa, suffix) \
  {isa, matmul_f32_tile_##suffix, matmul_f32_wide_##suffix, transpose_x4_##suffix},
#include "qslim/kernels/matmul_f32/kernels.inc"
#undef QSLIM_MATMUL_F32_KERNELS
};

}  // namespace qslim
