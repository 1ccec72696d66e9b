// SPDX-License-Identifier: Apache-2.0
//
// The rows of kernels.inc as a table. For drivers, tests and benchmarks; per-ISA files do not include this.
#pragma once

#include "qslim/core/isa.h"
#include "qslim/kernels/learned_quant/kernels.h"

namespace qslim {

struct LearnedQuantKernels {
  Isa isa;
  PactBackwardRowsFn pact_rows;
  PactBackwardElementsFn pact_elements;
  LsqBackwardRowsFn lsq_rows;
  LsqBackwardElementsFn lsq_elements;
};

constexpr LearnedQuantKernels kLearnedQuantKernels[] = {
#define QSLIM_LEARNED_QUANT_KERNELS(isa, suffix)                              \
  {isa, pact_backward_f32_rows_##suffix, pact_backward_f32_elements_##suffix, \
   lsq_backward_f32_rows_##suffix, lsq_backward_f32_elements_##suffix},
#include "qslim/kernels/learned_quant/kernels.inc"
#undef QSLIM_LEARNED_QUANT_KERNELS
};

}  // namespace qslim
