// SPDX-License-Identifier: Apache-2.0
//
// The rows of kernels.inc as a table. For drivers, tests and benchmarks; per-ISA files do not include this.
#pragma once

#include "qslim/core/isa.h"
#include "qslim/kernels/conv_blocks/layouts.h"
#include "qslim/kernels/gemm_u8s8/kernels.h"

namespace qslim {

struct GemmU8S8Kernel {
  Isa isa;
  const char* name;
  GemmLayout layout;
  GatherFn gather, gather_columns;
  GemmRequantizeFn requantize, requantize_sum, requantize_hard_swish;
  GemmRealFn real;
};

constexpr GemmU8S8Kernel kGemmU8S8Kernels[] = {
#define QSLIM_GEMM_U8S8_KERNELS(isa, suffix, lanes, max_vectors, depth, packed_order, byte_shift, \
                                gather_columns, requantize_sum, requantize_hard_swish)            \
  {isa,                                                                                           \
   "gemm_u8s8_" #suffix,                                                                          \
   {lanes, max_vectors, depth, packed_order, byte_shift},                                         \
   gather_u8_##suffix,                                                                            \
   gather_columns,                                                                                \
   gemm_u8s8_requantize_##suffix,                                                                 \
   requantize_sum,                                                                                \
   requantize_hard_swish,                                                                         \
   gemm_u8s8_real_##suffix},
#include "qslim/kernels/gemm_u8s8/kernels.inc"
#undef QSLIM_GEMM_U8S8_KERNELS
};

}  // namespace qslim
