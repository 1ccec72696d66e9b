// SPDX-License-Identifier: Apache-2.0
//
// Matrix product kernels with NEON's fused multiply-adds of 4 lanes. Contract: kernels.h.
#include "qslim/kernels/conv_blocks/operands_neon.h"
#include "qslim/kernels/matmul_f32/kernels.h"

namespace qslim {
namespace {

QSLIM_INLINE float32x4_t load(const float* x) {
  return FloatOperands::load(reinterpret_cast<const unsigned char*>(x));
}
QSLIM_INLINE float32x4_t broadcast(const float* x) {
  return FloatOperands::broadcast(reinterpret_cast<const unsigned char*>(x));
}

// Columns in vectors of 4: 6 x 4 accumulators, 4 of b and 1 of a are 29 of 32 registers.
template <int kRows, int kVectors>
QSLIM_INLINE void tile(std::size_t k, const MatmulOperandA& a, const float* b, std::ptrdiff_t b_stride,
                       float32x4_t (&acc)[kRows][kVectors]) noexcept {
  QSLIM_UNROLL for (int m = 0; m < kRows; ++m) {
    QSLIM_UNROLL for (int j = 0; j < kVectors; ++j) acc[m][j] = vdupq_n_f32(0);
  }
  const float* column = a.data;
  for (std::size_t i = 0; i < k; ++i, b += b_stride, column += a.k_stride) {
    if constexpr (kRows == 1) {
      const float32x4_t value = broadcast(column);
      QSLIM_UNROLL for (int j = 0; j < kVectors; ++j) {
        FloatOperands::multiply_add(acc[0][j], value, load(b + 4 * j));
      }
    } else {
      float32x4_t vectors[kVectors];
      QSLIM_UNROLL for (int j = 0; j < kVectors; ++j) vectors[j] = load(b + 4 * j);
      QSLIM_UNROLL for (int m = 0; m < kRows; ++m) {
        const float32x4_t value = broadcast(column + m * a.m_stride);
        QSLIM_UNROLL for (int j = 0; j < kVectors; ++j) {
          FloatOperands::multiply_add(acc[m][j], value, vectors[j]);
        }
      }
    }
  }
}

template <int kRows>
void store_tile(std::size_t columns, std::size_t k, const MatmulOperandA& a, const float* b,
                std::ptrdiff_t b_stride, float* c, std::ptrdiff_t c_stride) noexcept {
  constexpr int kVectors = kMatmulColumns / 4;
  float32x4_t acc[kRows][kVectors];
  tile(k, a, b, b_stride, acc);
  QSLIM_UNROLL for (int m = 0; m < kRows; ++m, c += c_stride) {
    if (columns == kMatmulColumns) {
      QSLIM_UNROLL for (int j = 0; j < kVectors; ++j) vst1q_f32(c + 4 * j, acc[m][j]);
    } else {
      float values[kMatmulColumns];
      QSLIM_UNROLL for (int j = 0; j < kVectors; ++j) vst1q_f32(values + 4 * j, acc[m][j]);
      for (std::size_t n = 0; n < columns; ++n) c[n] = values[n];
    }
  }
}

}  // namespace

void matmul_f32_tile_neon(std::size_t rows, std::size_t columns, std::size_t k, const MatmulOperandA& a,
                          const float* b, std::ptrdiff_t b_stride, float* c,
                          std::ptrdiff_t c_stride) noexcept {
  switch (rows) {
    case 1: return store_tile<1>(columns, k, a, b, b_stride, c, c_stride);
    case 2: return store_tile<2>(columns, k, a, b, b_stride, c, c_stride);
    case 3: return store_tile<3>(columns, k, a, b, b_stride, c, c_stride);
    case 4: return store_tile<4>(columns, k, a, b, b_stride, c, c_stride);
    case 5: return store_tile<5>(columns, k, a, b, b_stride, c, c_stride);
    default: return store_tile<6>(columns, k, a, b, b_stride, c, c_stride);
  }
}

void matmul_f32_wide_neon(std::size_t k, const MatmulOperandA& a, const float* b, std::ptrdiff_t b_stride,
                          float* c) noexcept {
  constexpr int kVectors = kMatmulWide / 4;
  float32x4_t acc[1][kVectors];
  tile(k, a, b, b_stride, acc);
  QSLIM_UNROLL for (int j = 0; j < kVectors; ++j) vst1q_f32(c + 4 * j, acc[0][j]);
}

}  // namespace qslim
