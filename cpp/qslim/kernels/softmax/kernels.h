// SPDX-License-Identifier: Apache-2.0
//
// Softmax kernels: the functions of each instruction set. Contract: softmax.h.
//
//   row      one contiguous row of n
//   columns  `columns` <= kSoftmaxColumns neighbouring columns of a [axis, inner] plane
//
// Included by per-ISA files: plain declarations only.
#pragma once

#include <cstddef>

namespace qslim {

inline constexpr std::size_t kSoftmaxColumns = 64;

using SoftmaxRowFn = void (*)(std::size_t n, const float* x, float* y) noexcept;
using SoftmaxColumnsFn = void (*)(std::size_t axis, std::size_t inner, std::size_t columns, const float* x,
                                  float* y) noexcept;

#define QSLIM_SOFTMAX_KERNELS(isa, suffix)                                                                \
  void softmax_row_##suffix(std::size_t n, const float* x, float* y) noexcept;                            \
  void softmax_columns_##suffix(std::size_t axis, std::size_t inner, std::size_t columns, const float* x, \
                                float* y) noexcept;
#include "qslim/kernels/softmax/kernels.inc"
#undef QSLIM_SOFTMAX_KERNELS

}  // namespace qslim
