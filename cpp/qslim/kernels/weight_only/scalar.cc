// SPDX-License-Identifier: Apache-2.0
//
// Products with integer weights for any machine, and their specification. Contract: kernels.h.
#include "qslim/kernels/weight_only/kernels.h"

namespace qslim {
namespace {

template <bool kNarrow>
float weight_at(const WeightPanels& panels, std::size_t panel, std::size_t k, std::size_t column) {
  const std::uint8_t* const integers = panels.integers + panel * panels.panel_bytes;
  int q;
  if (kNarrow) {
    const int both = integers[k / 2 * kWeightColumns + column];
    q = (k % 2 == 0 ? both & 15 : both >> 4) - 8;
  } else {
    q = static_cast<std::int8_t>(integers[k * kWeightColumns + column]);
  }
  return static_cast<float>(q) *
         panels.scale[panel * panels.panel_scales + k / panels.group_size * kWeightColumns + column];
}

template <bool kNarrow>
void multiply(const WeightPanels& panels, std::size_t rows, const float* x, std::size_t x_stride,
              float* sums) {
  for (std::size_t m = 0; m < rows; ++m, x += x_stride) {
    for (std::size_t panel = 0; panel < panels.count; ++panel) {
      for (std::size_t column = 0; column < kWeightColumns; ++column) {
        float sum = 0;
        for (std::size_t k = 0; k < panels.k; ++k) {
          sum = __builtin_fmaf(x[k], weight_at<kNarrow>(panels, panel, k, column), sum);
        }
        *sums++ = sum;
      }
    }
  }
}

template <bool kNarrow>
void dequantize(const WeightPanels& panels, float* y, std::size_t y_stride) {
  for (std::size_t k = 0; k < panels.k; ++k, y += y_stride) {
    for (std::size_t n = 0; n < kWeightColumns; ++n) y[n] = weight_at<kNarrow>(panels, 0, k, n);
  }
}

}  // namespace

void multiply_weights_s8_scalar(const WeightPanels& panels, std::size_t rows, const float* x,
                                std::size_t x_stride, float* sums) noexcept {
  multiply<false>(panels, rows, x, x_stride, sums);
}

void multiply_weights_s4_scalar(const WeightPanels& panels, std::size_t rows, const float* x,
                                std::size_t x_stride, float* sums) noexcept {
  multiply<true>(panels, rows, x, x_stride, sums);
}

void dequantize_weights_s8_scalar(const WeightPanels& panels, float* y, std::size_t y_stride) noexcept {
  dequantize<false>(panels, y, y_stride);
}

void dequantize_weights_s4_scalar(const WeightPanels& panels, float* y, std::size_t y_stride) noexcept {
  dequantize<true>(panels, y, y_stride);
}

}  // namespace qslim
