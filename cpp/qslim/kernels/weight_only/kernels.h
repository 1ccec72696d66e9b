// SPDX-License-Identifier: Apache-2.0
//
// Products of floats with a weight of small integers, which become floats in registers: the functions of each
// instruction set.
//
//   w[k, n]  = float(q[k, n]) * scale[k / group_size, n]                one rounding
//   multiply    sums[m, n] = sum over k of x[m, k] * w[k, n]            one chain of fused multiply-adds over k,
//                                                                       from +0: what gemm_f32 computes from w
//   dequantize  y[k, n] = w[k, n] of one panel
//
// A panel is 16 columns of the weight: of 8 bits [k][16]; of 4 bits [ceil(k / 2)][16], where the low half of a
// byte is k = 2i and the high half k = 2i + 1, 8 added to each. Its scales are [groups][16]. group_size is even
// or at least k. Nothing is aligned. Included by per-ISA files: plain declarations only.
#pragma once

#include <cstddef>
#include <cstdint>

namespace qslim {

inline constexpr std::size_t kWeightColumns = 16;
// Of multiply: with more rows it pays to dequantize a panel once.
inline constexpr std::size_t kWeightRows = 6;

// Consecutive panels.
struct WeightPanels {
  const std::uint8_t* integers = nullptr;
  const float* scale = nullptr;
  std::size_t count = 0, panel_bytes = 0, panel_scales = 0;  // panels; distance from one to the next
  std::size_t k = 0, group_size = 1;
};

// x has `rows` rows, 1 to kWeightRows, `x_stride` apart; sums [rows, 16 * count].
using MultiplyWeightsFn = void (*)(const WeightPanels& panels, std::size_t rows, const float* x,
                                   std::size_t x_stride, float* sums) noexcept;
// Of the first panel; the rows of y are `y_stride` apart.
using DequantizeWeightsFn = void (*)(const WeightPanels& panels, float* y, std::size_t y_stride) noexcept;

#define QSLIM_WEIGHT_ONLY_KERNELS(isa, suffix)                                                              \
  void multiply_weights_s8_##suffix(const WeightPanels& panels, std::size_t rows, const float* x,           \
                                    std::size_t x_stride, float* sums) noexcept;                            \
  void multiply_weights_s4_##suffix(const WeightPanels& panels, std::size_t rows, const float* x,           \
                                    std::size_t x_stride, float* sums) noexcept;                            \
  void dequantize_weights_s8_##suffix(const WeightPanels& panels, float* y, std::size_t y_stride) noexcept; \
  void dequantize_weights_s4_##suffix(const WeightPanels& panels, float* y, std::size_t y_stride) noexcept;
#include "qslim/kernels/weight_only/kernels.inc"
#undef QSLIM_WEIGHT_ONLY_KERNELS

}  // namespace qslim
