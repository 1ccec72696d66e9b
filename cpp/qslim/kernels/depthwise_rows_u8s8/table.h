// SPDX-License-Identifier: Apache-2.0
//
// The rows of kernels.inc as a table. For drivers, tests and benchmarks; per-ISA files do not include this.
#pragma once

#include "qslim/core/isa.h"
#include "qslim/kernels/depthwise_rows_u8s8/kernels.h"

namespace qslim {

struct DepthwiseRowsU8S8Kernel {
  Isa isa;
  const char* name;
  DepthwiseRowsRequantizeFn requantize, requantize_hard_swish;
  DepthwiseRowsRealFn real;
};

constexpr DepthwiseRowsU8S8Kernel kDepthwiseRowsU8S8Kernels[] = {
#define QSLIM_DEPTHWISE_ROWS_U8S8_KERNELS(isa, suffix)                           \
  {isa, "depthwise_rows_u8s8_" #suffix, depthwise_rows_u8s8_requantize_##suffix, \
   depthwise_rows_u8s8_requantize_hard_swish_##suffix, depthwise_rows_u8s8_real_##suffix},
#include "qslim/kernels/depthwise_rows_u8s8/kernels.inc"
#undef QSLIM_DEPTHWISE_ROWS_U8S8_KERNELS
    {Isa::kScalar, nullptr, nullptr, nullptr, nullptr},  // where there is none
};

}  // namespace qslim
