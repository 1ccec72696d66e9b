// SPDX-License-Identifier: Apache-2.0
//
// Movement kernels for any machine. Contract: kernels.h.
#include "qslim/kernels/movement/kernels.h"

namespace qslim {
namespace {

template <class T>
void transpose(std::size_t rows, std::size_t columns, const T* x, std::ptrdiff_t x_stride, T* y,
               std::ptrdiff_t y_stride) noexcept {
  for (std::size_t c = 0; c < columns; ++c, ++x, y += y_stride) {
    const T* from = x;
    for (std::size_t r = 0; r < rows; ++r, from += x_stride) y[r] = *from;
  }
}

}  // namespace

void transpose_x4_scalar(std::size_t rows, std::size_t columns, const std::uint32_t* x,
                         std::ptrdiff_t x_stride, std::uint32_t* y, std::ptrdiff_t y_stride) noexcept {
  transpose(rows, columns, x, x_stride, y, y_stride);
}

void transpose_x1_scalar(std::size_t rows, std::size_t columns, const std::uint8_t* x,
                         std::ptrdiff_t x_stride, std::uint8_t* y, std::ptrdiff_t y_stride) noexcept {
  transpose(rows, columns, x, x_stride, y, y_stride);
}

void interleave3_x1_scalar(std::size_t n, const std::uint8_t* x, std::size_t x_stride,
                           std::uint8_t* y) noexcept {
  for (std::size_t i = 0; i < n; ++i) {
    y[3 * i] = x[i];
    y[3 * i + 1] = x[x_stride + i];
    y[3 * i + 2] = x[2 * x_stride + i];
  }
}

}  // namespace qslim
