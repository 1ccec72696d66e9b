// SPDX-License-Identifier: Apache-2.0
//
// The rows of kernels.inc as a table. For drivers, tests and benchmarks; per-ISA files do not include this.
#pragma once

#include "qslim/core/isa.h"
#include "qslim/kernels/reduce/kernels.h"

namespace qslim {

struct ReduceKernels {
  Isa isa;
  AbsMaxRowsFn abs_max_rows;
  AbsMaxElementsFn abs_max_elements;
  MinMaxRowsFn min_max_rows;
  MinMaxElementsFn min_max_elements;
  SumRowsFn sum_rows;
  SumElementsFn sum_elements;
  SumRowsFn sum_of_squares_rows;
  SumElementsFn sum_of_squares_elements;
};

constexpr ReduceKernels kReduceKernels[] = {
#define QSLIM_REDUCE_KERNELS(isa, suffix) \
  {isa,                                   \
   abs_max_f32_rows_##suffix,             \
   abs_max_f32_elements_##suffix,         \
   min_max_f32_rows_##suffix,             \
   min_max_f32_elements_##suffix,         \
   sum_f32_rows_##suffix,                 \
   sum_f32_elements_##suffix,             \
   sum_of_squares_f32_rows_##suffix,      \
   sum_of_squares_f32_elements_##suffix},
#include "qslim/kernels/reduce/kernels.inc"
#undef QSLIM_REDUCE_KERNELS
};

}  // namespace qslim
