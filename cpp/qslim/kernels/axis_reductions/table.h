// SPDX-License-Identifier: Apache-2.0
//
// The rows of kernels.inc as a table. For drivers, tests and benchmarks; per-ISA files do not include this.
#pragma once

#include "qslim/core/isa.h"
#include "qslim/kernels/axis_reductions/kernels.h"

namespace qslim {

struct AxisReductionsKernels {
  Isa isa;
  ReduceRowFn row;
  ReduceColumnsFn columns;
  ArgmaxColumnsFn argmax;
};

constexpr AxisReductionsKernels kAxisReductionsKernels[] = {
#define QSLIM_AXIS_REDUCTIONS_KERNELS(isa, suffix) \
  {isa, reduce_row_##suffix, reduce_columns_##suffix, argmax_columns_##suffix},
#include "qslim/kernels/axis_reductions/kernels.inc"
#undef QSLIM_AXIS_REDUCTIONS_KERNELS
};

}  // namespace qslim
