// SPDX-License-Identifier: Apache-2.0
//
// Matrix product kernels: the functions of each instruction set. Each element is one chain of fused
// multiply-adds.
//
//   tile  c[m, n] for m < rows <= kMatmulRows, n < columns <= kMatmulColumns; b holds kMatmulColumns readable
//         columns, b_stride apart per k, whatever `columns` is
//   wide  one row of kMatmulWide columns: enough chains to hide the latency, and long reads of b
//
// Included by per-ISA files: plain declarations only.
#pragma once

#include <cstddef>

namespace qslim {

inline constexpr std::size_t kMatmulRows = 6;  // 6 x 2 accumulators + 2 of b + 1 of a = 15 ymm registers
inline constexpr std::size_t kMatmulColumns = 16;
inline constexpr std::size_t kMatmulWide = 64;

struct MatmulOperandA {
  const float* data;
  std::ptrdiff_t m_stride, k_stride;
};

using MatmulTileFn = void (*)(std::size_t rows, std::size_t columns, std::size_t k, const MatmulOperandA& a,
                              const float* b, std::ptrdiff_t b_stride, float* c,
                              std::ptrdiff_t c_stride) noexcept;
using MatmulWideFn = void (*)(std::size_t k, const MatmulOperandA& a, const float* b, std::ptrdiff_t b_stride,
                              float* c) noexcept;

#define QSLIM_MATMUL_F32_KERNELS(isa, suffix)                                                               \
  void matmul_f32_tile_##suffix(std::size_t rows, std::size_t columns, std::size_t k,                       \
                                const MatmulOperandA& a, const float* b, std::ptrdiff_t b_stride, float* c, \
                                std::ptrdiff_t c_stride) noexcept;                                          \
  void matmul_f32_wide_##suffix(std::size_t k, const MatmulOperandA& a, const float* b,                     \
                                std::ptrdiff_t b_stride, float* c) noexcept;
#include "qslim/kernels/matmul_f32/kernels.inc"
#undef QSLIM_MATMUL_F32_KERNELS

}  // namespace qslim
