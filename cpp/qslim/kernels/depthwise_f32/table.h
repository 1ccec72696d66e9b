// SPDX-License-Identifier: Apache-2.0
//
// The rows of kernels.inc as a table. For drivers, tests and benchmarks; per-ISA files do not include this.
#pragma once

#include "qslim/core/isa.h"
#include "qslim/kernels/conv_blocks/layouts.h"
#include "qslim/kernels/depthwise_f32/kernels.h"

namespace qslim {

struct DepthwiseF32Kernel {
  Isa isa;
  const char* name;
  DepthwiseLayout layout;
  DepthwiseF32Fn multiply;
};

constexpr DepthwiseF32Kernel kDepthwiseF32Kernels[] = {
#define QSLIM_DEPTHWISE_F32_KERNELS(isa, suffix, lanes) \
  {isa, "depthwise_f32_" #suffix, {lanes, 2, 1, false}, depthwise_f32_##suffix},
#include "qslim/kernels/depthwise_f32/kernels.inc"
#undef QSLIM_DEPTHWISE_F32_KERNELS
};

}  // namespace qslim
