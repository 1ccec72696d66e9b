// SPDX-License-Identifier: Apache-2.0
//
// The rows of kernels.inc as a table. For drivers, tests and benchmarks; per-ISA files do not include this.
#pragma once

#include "qslim/core/isa.h"
#include "qslim/kernels/softmax/kernels.h"

namespace qslim {

struct SoftmaxKernels {
  Isa isa;
  SoftmaxRowFn row;
  SoftmaxColumnsFn columns;
};

constexpr SoftmaxKernels kSoftmaxKernels[] = {
#define QSLIM_SOFTMAX_KERNELS(isa, suffix) {isa, softmax_row_##suffix, softmax_columns_##suffix},
#include "qslim/kernels/softmax/kernels.inc"
#undef QSLIM_SOFTMAX_KERNELS
};

}  // namespace qslim
