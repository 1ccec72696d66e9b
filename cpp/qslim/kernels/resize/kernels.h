// SPDX-License-Identifier: Apache-2.0
//
// The bilinear kernel: one pixel of n channels from its four neighbours, in the order resize.h gives.
// Included by per-ISA files: plain declarations only.
#pragma once

#include <cstddef>

namespace qslim {

struct BilinearWeights {
  float row_first, row_second, column_first, column_second;
};

// x: top left, top right, bottom left, bottom right.
using BilinearFn = void (*)(std::size_t n, const float* const* x, const BilinearWeights& w,
                            float* y) noexcept;

#define QSLIM_RESIZE_KERNELS(isa, suffix)                                                    \
  void bilinear_f32_##suffix(std::size_t n, const float* const* x, const BilinearWeights& w, \
                             float* y) noexcept;
#include "qslim/kernels/resize/kernels.inc"
#undef QSLIM_RESIZE_KERNELS

}  // namespace qslim
