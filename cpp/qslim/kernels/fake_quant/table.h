// SPDX-License-Identifier: Apache-2.0
//
// The rows of kernels.inc as a table. For drivers, tests and benchmarks; per-ISA files do not include this.
#pragma once

#include "qslim/core/isa.h"
#include "qslim/kernels/fake_quant/kernels.h"

namespace qslim {

struct FakeQuantKernels {
  Isa isa;
  FakeQuantRowsFn rows;
  FakeQuantElementsFn elements;
  FakeQuantBackwardRowsFn backward_rows;
  FakeQuantBackwardElementsFn backward_elements;
};

constexpr FakeQuantKernels kFakeQuantKernels[] = {
#define QSLIM_FAKE_QUANT_KERNELS(isa, suffix)                           \
  {isa, fake_quant_f32_rows_##suffix, fake_quant_f32_elements_##suffix, \
   fake_quant_backward_f32_rows_##suffix, fake_quant_backward_f32_elements_##suffix},
#include "qslim/kernels/fake_quant/kernels.inc"
#undef QSLIM_FAKE_QUANT_KERNELS
};

}  // namespace qslim
