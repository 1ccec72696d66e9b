// SPDX-License-Identifier: Apache-2.0
//
// The rows of kernels.inc as a table. For drivers, tests and benchmarks; per-ISA files do not include this.
#pragma once

#include "qslim/core/isa.h"
#include "qslim/kernels/weight_only/kernels.h"

namespace qslim {

// The functions for one width of the integers.
struct WeightFunctions {
  const char* name;
  MultiplyWeightsFn multiply;
  DequantizeWeightsFn dequantize;
};

struct WeightOnlyKernels {
  Isa isa;
  WeightFunctions s8, s4;
};

constexpr WeightOnlyKernels kWeightOnlyKernels[] = {
#define QSLIM_WEIGHT_ONLY_KERNELS(isa, suffix)                                                \
  {isa,                                                                                       \
   {"weight_only_s8_" #suffix, multiply_weights_s8_##suffix, dequantize_weights_s8_##suffix}, \
   {"weight_only_s4_" #suffix, multiply_weights_s4_##suffix, dequantize_weights_s4_##suffix}},
#include "qslim/kernels/weight_only/kernels.inc"
#undef QSLIM_WEIGHT_ONLY_KERNELS
};

}  // namespace qslim
