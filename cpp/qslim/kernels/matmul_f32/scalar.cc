// SPDX-License-Identifier: Apache-2.0
//
// Matrix product kernels for any machine. Contract: kernels.h.
#include <cmath>

#include "qslim/kernels/matmul_f32/kernels.h"

namespace qslim {

void matmul_f32_tile_scalar(std::size_t rows, std::size_t columns, std::size_t k, const MatmulOperandA& a,
                            const float* b, std::ptrdiff_t b_stride, float* c,
                            std::ptrdiff_t c_stride) noexcept {
  for (std::size_t m = 0; m < rows; ++m, c += c_stride) {
    const float* const row = a.data + static_cast<std::ptrdiff_t>(m) * a.m_stride;
    for (std::size_t n = 0; n < columns; ++n) {
      float acc = 0;
      for (std::size_t i = 0; i < k; ++i) {
        const std::ptrdiff_t at = static_cast<std::ptrdiff_t>(i);
        acc = std::fma(row[at * a.k_stride], b[at * b_stride + static_cast<std::ptrdiff_t>(n)], acc);
      }
      c[n] = acc;
    }
  }
}

void matmul_f32_wide_scalar(std::size_t k, const MatmulOperandA& a, const float* b, std::ptrdiff_t b_stride,
                            float* c) noexcept {
  matmul_f32_tile_scalar(1, kMatmulWide, k, a, b, b_stride, c, 0);
}

}  // namespace qslim
