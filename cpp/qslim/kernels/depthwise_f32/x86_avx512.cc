// SPDX-License-Identifier: Apache-2.0
//
// Float depthwise convolution on AVX-512, 32 channels at a time. Contract: kernels.h.
#include "qslim/kernels/x86_avx512.h"
#include "qslim/kernels/conv_blocks/epilogue_avx512.h"
#include "qslim/kernels/depthwise_f32/kernels.h"

namespace qslim {
namespace {

constexpr std::size_t kBlock = 32;

__attribute__((always_inline)) inline __m512 load(const unsigned char* p) {
  return _mm512_loadu_ps(reinterpret_cast<const float*>(p));
}

// Taps > 0: so many, unrolled; 0: as many as the span says. Vectors: of the block, 1 if the second is empty.
template <int Taps, int Vectors>
void depthwise_block(const DepthwiseSpan& span, const Clamp& clamp, std::size_t c, std::size_t channels,
                     const unsigned char* weights) {
  const __m512 lo = _mm512_set1_ps(clamp.lo), hi = _mm512_set1_ps(clamp.hi);
  const std::size_t taps = Taps > 0 ? Taps : span.taps;
  const float* bias = span.bias + c;
  unsigned char* y = span.y + 4 * c;
  std::size_t offset = 4 * c;
  for (std::size_t i = 0; i < span.pixels; ++i, offset += span.x_step, y += span.y_step) {
    __m512 acc[Vectors];
    for (__m512& sum : acc) sum = _mm512_setzero_ps();
    const auto add = [&](std::size_t tap) __attribute__((always_inline)) {
      const unsigned char* x = span.x[tap] + offset;
      const unsigned char* w = weights + tap * kBlock * 4;
      for (int j = 0; j < Vectors; ++j) acc[j] = _mm512_fmadd_ps(load(x + 64 * j), load(w + 64 * j), acc[j]);
    };
    if constexpr (Taps > 0) {
      _Pragma("GCC unroll 16") for (int tap = 0; tap < Taps; ++tap) add(static_cast<std::size_t>(tap));
    } else {
      for (std::size_t tap = 0; tap < taps; ++tap) add(tap);
    }
    for (int j = 0; j < Vectors; ++j) {
      // min and max return their second operand for NaN.
      const __m512 sum = _mm512_add_ps(acc[j], _mm512_load_ps(bias + 16 * j));
      store_first_floats(y + 64 * j, _mm512_min_ps(hi, _mm512_max_ps(lo, sum)),
                         channels - static_cast<std::size_t>(16 * j));
    }
  }
}

template <int Taps>
void depthwise(const DepthwiseSpan& span, const Clamp& clamp) {
  const auto* weights = static_cast<const unsigned char*>(span.weights);
  for (std::size_t c = 0; c < span.channels; c += kBlock, weights += span.steps * kBlock * 4) {
    const std::size_t channels = span.channels - c < kBlock ? span.channels - c : kBlock;
    channels > 16 ? depthwise_block<Taps, 2>(span, clamp, c, channels, weights)
                  : depthwise_block<Taps, 1>(span, clamp, c, channels, weights);
  }
}

}  // namespace

void depthwise_f32_avx512(const DepthwiseSpan& span, const Clamp& clamp) noexcept {
  span.taps == 9 ? depthwise<9>(span, clamp) : depthwise<0>(span, clamp);
}

}  // namespace qslim
