// SPDX-License-Identifier: Apache-2.0
//
// Float depthwise convolution on AVX2 and FMA, 16 channels at a time. Contract: kernels.h.
#include <immintrin.h>

#include "qslim/kernels/conv_blocks/epilogue_avx2.h"
#include "qslim/kernels/conv_blocks/tile.h"
#include "qslim/kernels/depthwise_f32/kernels.h"

namespace qslim {
namespace {

constexpr std::size_t kBlock = 16;

__attribute__((always_inline)) inline __m256 load(const unsigned char* p) {
  return _mm256_loadu_ps(reinterpret_cast<const float*>(p));
}

// Taps > 0: so many, unrolled; 0: as many as the span says. Vectors: of the block, 1 if the second is empty.
template <int Taps, int Vectors>
void depthwise_block(const DepthwiseSpan& span, const Clamp& clamp, std::size_t c, std::size_t channels,
                     const unsigned char* weights) {
  const __m256 lo = _mm256_set1_ps(clamp.lo), hi = _mm256_set1_ps(clamp.hi);
  const std::size_t taps = Taps > 0 ? Taps : span.taps;
  const float* bias = span.bias + c;
  unsigned char* y = span.y + 4 * c;
  std::size_t offset = 4 * c;
  for (std::size_t i = 0; i < span.pixels; ++i, offset += span.x_step, y += span.y_step) {
    __m256 acc[Vectors];
    for (__m256& sum : acc) sum = _mm256_setzero_ps();
    const auto add = [&](std::size_t tap) __attribute__((always_inline)) {
      const unsigned char* x = span.x[tap] + offset;
      const unsigned char* w = weights + tap * kBlock * 4;
      for (int j = 0; j < Vectors; ++j) acc[j] = _mm256_fmadd_ps(load(x + 32 * j), load(w + 32 * j), acc[j]);
    };
    if constexpr (Taps > 0) {
      _Pragma("GCC unroll 16") for (int tap = 0; tap < Taps; ++tap) add(static_cast<std::size_t>(tap));
    } else {
      for (std::size_t tap = 0; tap < taps; ++tap) add(tap);
    }
    for (int j = 0; j < Vectors; ++j) {
      // min and max return their second operand for NaN.
      const __m256 v =
          _mm256_min_ps(hi, _mm256_max_ps(lo, _mm256_add_ps(acc[j], _mm256_load_ps(bias + 8 * j))));
      store_first_floats(y + 32 * j, v, channels - static_cast<std::size_t>(8 * j));
    }
  }
}

// 3x3 inside the image, 8 channels: the weights stay in registers, and two chains run side by side.
template <int Pixels>
QSLIM_INLINE void sums_3x3(const unsigned char* const* rows, std::size_t offset, const DepthwiseSpan& span,
                           const __m256 (&w)[9], __m256 (&acc)[Pixels]) {
  QSLIM_UNROLL for (int i = 0; i < Pixels; ++i) acc[i] = _mm256_setzero_ps();
  QSLIM_UNROLL for (int kh = 0; kh < 3; ++kh) {
    QSLIM_UNROLL for (int kw = 0; kw < 3; ++kw) {
      const unsigned char* x = rows[kh] + offset + static_cast<std::size_t>(kw) * span.column_step;
      QSLIM_UNROLL for (int i = 0; i < Pixels; ++i) {
        acc[i] = _mm256_fmadd_ps(load(x + static_cast<std::size_t>(i) * span.x_step), w[3 * kh + kw], acc[i]);
      }
    }
  }
}

void depthwise_3x3(const DepthwiseSpan& span, const Clamp& clamp) {
  const __m256 lo = _mm256_set1_ps(clamp.lo), hi = _mm256_set1_ps(clamp.hi);
  for (std::size_t c = 0; c < span.channels; c += 8) {
    const std::size_t channels = span.channels - c;
    const auto* weights =
        static_cast<const unsigned char*>(span.weights) + (c / kBlock * 9 * kBlock + c % kBlock) * 4;
    __m256 w[9];
    QSLIM_UNROLL for (int tap = 0; tap < 9; ++tap) w[tap] =
        load(weights + static_cast<std::size_t>(tap) * kBlock * 4);
    const __m256 bias = _mm256_load_ps(span.bias + c);
    const unsigned char* const rows[3] = {span.x[0] + 4 * c, span.x[3] + 4 * c, span.x[6] + 4 * c};
    unsigned char* y = span.y + 4 * c;
    // min and max return their second operand for NaN.
    const auto emit = [&](__m256 sum) __attribute__((always_inline)) {
      store_first_floats(y, _mm256_min_ps(hi, _mm256_max_ps(lo, _mm256_add_ps(sum, bias))), channels);
      y += span.y_step;
    };
    std::size_t i = 0;
    for (; i + 2 <= span.pixels; i += 2) {
      __m256 acc[2];
      sums_3x3<2>(rows, i * span.x_step, span, w, acc);
      emit(acc[0]);
      emit(acc[1]);
    }
    if (i < span.pixels) {
      __m256 acc[1];
      sums_3x3<1>(rows, i * span.x_step, span, w, acc);
      emit(acc[0]);
    }
  }
}

template <int Taps>
void depthwise(const DepthwiseSpan& span, const Clamp& clamp) {
  const auto* weights = static_cast<const unsigned char*>(span.weights);
  for (std::size_t c = 0; c < span.channels; c += kBlock, weights += span.steps * kBlock * 4) {
    const std::size_t channels = span.channels - c < kBlock ? span.channels - c : kBlock;
    channels > 8 ? depthwise_block<Taps, 2>(span, clamp, c, channels, weights)
                 : depthwise_block<Taps, 1>(span, clamp, c, channels, weights);
  }
}

}  // namespace

void depthwise_f32_avx2(const DepthwiseSpan& span, const Clamp& clamp) noexcept {
  if (span.inner_side == 3) {
    depthwise_3x3(span, clamp);
  } else {
    span.taps == 9 ? depthwise<9>(span, clamp) : depthwise<0>(span, clamp);
  }
}

}  // namespace qslim
