// SPDX-License-Identifier: Apache-2.0
//
// The rows of kernels.inc as a table. For drivers, tests and benchmarks; per-ISA files do not include this.
#pragma once

#include "qslim/core/isa.h"
#include "qslim/kernels/resize/kernels.h"

namespace qslim {

struct ResizeKernels {
  Isa isa;
  BilinearFn bilinear;
};

constexpr ResizeKernels kResizeKernels[] = {
#define QSLIM_RESIZE_KERNELS(isa, suffix) {isa, bilinear_f32_##suffix},
#include "qslim/kernels/resize/kernels.inc"
#undef QSLIM_RESIZE_KERNELS
};

}  // namespace qslim
