// SPDX-License-Identifier: Apache-2.0
//
// The rows of kernels.inc as a table. For drivers, tests and benchmarks; per-ISA files do not include this.
#pragma once

#include "qslim/core/isa.h"
#include "qslim/kernels/conv_blocks/layouts.h"
#include "qslim/kernels/depthwise_u8s8/kernels.h"

namespace qslim {

struct DepthwiseU8S8Kernel {
  Isa isa;
  const char* name;
  DepthwiseLayout layout;
  DepthwiseRequantizeFn requantize;
  DepthwiseRealFn real;
};

constexpr DepthwiseU8S8Kernel kDepthwiseU8S8Kernels[] = {
#define QSLIM_DEPTHWISE_U8S8_KERNELS(isa, suffix, lanes, vectors, depth, packed_order) \
  {isa,                                                                                \
   "depthwise_u8s8_" #suffix,                                                          \
   {lanes, vectors, depth, packed_order},                                              \
   depthwise_u8s8_requantize_##suffix,                                                 \
   depthwise_u8s8_real_##suffix},
#include "qslim/kernels/depthwise_u8s8/kernels.inc"
#undef QSLIM_DEPTHWISE_U8S8_KERNELS
};

}  // namespace qslim
