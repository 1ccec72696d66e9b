// SPDX-License-Identifier: Apache-2.0
//
// The rows of kernels.inc as a table. For drivers, tests and benchmarks; per-ISA files do not include this.
#pragma once

#include "qslim/core/isa.h"
#include "qslim/kernels/histogram/kernels.h"

namespace qslim {

struct HistogramKernels {
  Isa isa;
  HistogramLinearFn linear;
  HistogramSignedFn signed_bins;
};

constexpr HistogramKernels kHistogramKernels[] = {
#define QSLIM_HISTOGRAM_KERNELS(isa, suffix) \
  {isa, histogram_linear_f32_##suffix, histogram_signed_f32_##suffix},
#include "qslim/kernels/histogram/kernels.inc"
#undef QSLIM_HISTOGRAM_KERNELS
};

}  // namespace qslim
