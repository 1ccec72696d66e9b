// SPDX-License-Identifier: Apache-2.0
//
// Movement kernels with the shuffles of NEON. Contract: kernels.h.
#include <arm_neon.h>

#include "qslim/kernels/loop_kernels.h"
#include "qslim/kernels/movement/kernels.h"

namespace qslim {
namespace {

template <class T>
QSLIM_INLINE void transpose_rest(std::size_t rows, std::size_t columns, const T* x, std::ptrdiff_t x_stride,
                                 T* y, std::ptrdiff_t y_stride) noexcept {
  for (std::size_t r = 0; r < rows; ++r, x += x_stride) {
    T* to = y + r;
    for (std::size_t c = 0; c < columns; ++c, to += y_stride) *to = x[c];
  }
}

QSLIM_INLINE void transpose_block(const std::uint32_t* x, std::ptrdiff_t x_stride, std::uint32_t* y,
                                  std::ptrdiff_t y_stride) noexcept {
  uint32x4_t r[4];
  for (int i = 0; i < 4; ++i) r[i] = vld1q_u32(x + i * x_stride);
  // Rows i and i + 2 alternate; then the two shuffles' halves do.
  const uint32x4_t lo02 = vzip1q_u32(r[0], r[2]), hi02 = vzip2q_u32(r[0], r[2]);
  const uint32x4_t lo13 = vzip1q_u32(r[1], r[3]), hi13 = vzip2q_u32(r[1], r[3]);
  vst1q_u32(y, vzip1q_u32(lo02, lo13));
  vst1q_u32(y + y_stride, vzip2q_u32(lo02, lo13));
  vst1q_u32(y + 2 * y_stride, vzip1q_u32(hi02, hi13));
  vst1q_u32(y + 3 * y_stride, vzip2q_u32(hi02, hi13));
}

QSLIM_INLINE void transpose_block(const std::uint8_t* x, std::ptrdiff_t x_stride, std::uint8_t* y,
                                  std::ptrdiff_t y_stride) noexcept {
  uint8x16_t r[4], s[4];
  for (int i = 0; i < 4; ++i) {  // bytes of rows i and i + 4 alternate
    const uint8x16_t upper = vcombine_u8(vld1_u8(x + i * x_stride), vdup_n_u8(0));
    const uint8x16_t lower = vcombine_u8(vld1_u8(x + (i + 4) * x_stride), vdup_n_u8(0));
    r[i] = vzip1q_u8(upper, lower);
  }
  for (int step = 0; step < 2; ++step) {  // two more perfect shuffles of 64 bytes
    for (int i = 0; i < 2; ++i) {
      s[2 * i] = vzip1q_u8(r[i], r[i + 2]);
      s[2 * i + 1] = vzip2q_u8(r[i], r[i + 2]);
    }
    for (int i = 0; i < 4; ++i) r[i] = s[i];
  }
  for (int i = 0; i < 4; ++i) {
    vst1_u8(y + 2 * i * y_stride, vget_low_u8(r[i]));
    vst1_u8(y + (2 * i + 1) * y_stride, vget_high_u8(r[i]));
  }
}

// Blocks at the far ends overlap the ones before them, so that no rest remains where one block fits.
template <std::size_t Side, class T>
QSLIM_INLINE void transpose(std::size_t rows, std::size_t columns, const T* x, std::ptrdiff_t x_stride, T* y,
                            std::ptrdiff_t y_stride) noexcept {
  if (rows < Side || columns < Side) return transpose_rest(rows, columns, x, x_stride, y, y_stride);
  for (std::size_t r = 0; r < rows; r += Side) {
    const auto row = static_cast<std::ptrdiff_t>(r + Side <= rows ? r : rows - Side);
    for (std::size_t c = 0; c < columns; c += Side) {
      const auto column = static_cast<std::ptrdiff_t>(c + Side <= columns ? c : columns - Side);
      transpose_block(x + row * x_stride + column, x_stride, y + column * y_stride + row, y_stride);
    }
  }
}

// The two halves of a channel shuffle.
QSLIM_INLINE void interleave2(std::size_t n, const std::uint8_t* x, std::ptrdiff_t x_stride,
                              std::uint8_t* y) noexcept {
  const std::uint8_t* const second = x + x_stride;
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16) vst2q_u8(y + 2 * i, {{vld1q_u8(x + i), vld1q_u8(second + i)}});
  for (; i < n; ++i) {
    y[2 * i] = x[i];
    y[2 * i + 1] = second[i];
  }
}

}  // namespace

void transpose_x4_neon(std::size_t rows, std::size_t columns, const std::uint32_t* x, std::ptrdiff_t x_stride,
                       std::uint32_t* y, std::ptrdiff_t y_stride) noexcept {
  transpose<4>(rows, columns, x, x_stride, y, y_stride);
}

void transpose_x1_neon(std::size_t rows, std::size_t columns, const std::uint8_t* x, std::ptrdiff_t x_stride,
                       std::uint8_t* y, std::ptrdiff_t y_stride) noexcept {
  if (rows == 2 && y_stride == 2) return interleave2(columns, x, x_stride, y);
  transpose<8>(rows, columns, x, x_stride, y, y_stride);
}

void interleave3_x1_neon(std::size_t n, const std::uint8_t* x, std::size_t x_stride,
                         std::uint8_t* y) noexcept {
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const std::uint8_t* const from = x + i;
    vst3q_u8(y + 3 * i, {{vld1q_u8(from), vld1q_u8(from + x_stride), vld1q_u8(from + 2 * x_stride)}});
  }
  for (; i < n; ++i) {
    for (std::size_t c = 0; c < 3; ++c) y[3 * i + c] = x[c * x_stride + i];
  }
}

}  // namespace qslim
