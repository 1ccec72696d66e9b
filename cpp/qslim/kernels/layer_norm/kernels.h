// SPDX-License-Identifier: Apache-2.0
//
// The layer normalization kernel: one row. Contract: layer_norm.h.
// Included by per-ISA files: plain declarations only.
#pragma once

#include <cstddef>

namespace qslim {

using LayerNormFn = void (*)(std::size_t n, const float* x, const float* gamma, const float* beta,
                             float epsilon, float* y) noexcept;

#define QSLIM_LAYER_NORM_KERNELS(isa, suffix)                                                        \
  void layer_norm_row_##suffix(std::size_t n, const float* x, const float* gamma, const float* beta, \
                               float epsilon, float* y) noexcept;
#include "qslim/kernels/layer_norm/kernels.inc"
#undef QSLIM_LAYER_NORM_KERNELS

}  // namespace qslim
