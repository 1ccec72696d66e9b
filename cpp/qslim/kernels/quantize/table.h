// SPDX-License-Identifier: Apache-2.0
//
// The rows of kernels.inc as a table. For drivers, tests and benchmarks; per-ISA files do not include this.
#pragma once

#include "qslim/core/isa.h"
#include "qslim/kernels/quantize/kernels.h"

namespace qslim {

struct QuantizeKernels {
  Isa isa;
  QuantizeRowsFn quantize_rows;
  QuantizeElementsFn quantize_elements;
  DequantizeRowsFn<std::int8_t> dequantize_s8_rows;
  DequantizeElementsFn<std::int8_t> dequantize_s8_elements;
  DequantizeRowsFn<std::uint8_t> dequantize_u8_rows;
  DequantizeElementsFn<std::uint8_t> dequantize_u8_elements;
};

constexpr QuantizeKernels kQuantizeKernels[] = {
#define QSLIM_QUANTIZE_KERNELS(isa, suffix) \
  {isa,                                     \
   quantize_f32_x8_rows_##suffix,           \
   quantize_f32_x8_elements_##suffix,       \
   dequantize_s8_f32_rows_##suffix,         \
   dequantize_s8_f32_elements_##suffix,     \
   dequantize_u8_f32_rows_##suffix,         \
   dequantize_u8_f32_elements_##suffix},
#include "qslim/kernels/quantize/kernels.inc"
#undef QSLIM_QUANTIZE_KERNELS
};

}  // namespace qslim
