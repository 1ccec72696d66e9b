// SPDX-License-Identifier: Apache-2.0
//
// Movement kernels: the functions of each instruction set.
//
//   transpose    y[c * y_stride + r] = x[r * x_stride + c], r < rows, c < columns, strides in elements;
//                x4 moves elements of 4 bytes, x1 of one
//   interleave3  y[3 * i + c] = x[c * x_stride + i], c < 3: the pixels of a colour image
//
// Nothing is aligned. Included by per-ISA files: plain declarations only.
#pragma once

#include <cstddef>
#include <cstdint>

namespace qslim {

template <class T>
using TransposeFn = void (*)(std::size_t rows, std::size_t columns, const T* x, std::ptrdiff_t x_stride, T* y,
                             std::ptrdiff_t y_stride) noexcept;
using Interleave3Fn = void (*)(std::size_t n, const std::uint8_t* x, std::size_t x_stride,
                               std::uint8_t* y) noexcept;

#define QSLIM_MOVEMENT_KERNELS(isa, suffix)                                                                \
  void transpose_x4_##suffix(std::size_t rows, std::size_t columns, const std::uint32_t* x,                \
                             std::ptrdiff_t x_stride, std::uint32_t* y, std::ptrdiff_t y_stride) noexcept; \
  void transpose_x1_##suffix(std::size_t rows, std::size_t columns, const std::uint8_t* x,                 \
                             std::ptrdiff_t x_stride, std::uint8_t* y, std::ptrdiff_t y_stride) noexcept;  \
  void interleave3_x1_##suffix(std::size_t n, const std::uint8_t* x, std::size_t x_stride,                 \
                               std::uint8_t* y) noexcept;
#include "qslim/kernels/movement/kernels.inc"
#undef QSLIM_MOVEMENT_KERNELS

}  // namespace qslim
