// SPDX-License-Identifier: Apache-2.0
//
// The rows of kernels.inc as a table. For drivers, tests and benchmarks; per-ISA files do not include this.
#pragma once

#include "qslim/core/isa.h"
#include "qslim/kernels/elementwise/kernels.h"
#include "qslim/kernels/quantize/kernels.h"

namespace qslim {

struct ElementwiseKernels {
  Isa isa;
  const char* name;
  const char* table_name;
  ElementwiseStepFn step;
  ElementwiseTableFn table;
  ElementwiseAddFn add;
  ElementwiseMulFn mul;
  QuantizeRowsFn quantize;
  DequantizeRowsFn<std::uint8_t> dequantize;
};

constexpr ElementwiseKernels kElementwiseKernels[] = {
#define QSLIM_ELEMENTWISE_KERNELS(isa, suffix) \
  {isa,                                        \
   "elementwise_" #suffix,                     \
   "lut_u8_" #suffix,                          \
   elementwise_step_##suffix,                  \
   table_u8_##suffix,                          \
   add_u8_u8_u8_##suffix,                      \
   mul_u8_f32_u8_##suffix,                     \
   quantize_f32_x8_rows_##suffix,              \
   dequantize_u8_f32_rows_##suffix},
#include "qslim/kernels/elementwise/kernels.inc"
#undef QSLIM_ELEMENTWISE_KERNELS
};

}  // namespace qslim
