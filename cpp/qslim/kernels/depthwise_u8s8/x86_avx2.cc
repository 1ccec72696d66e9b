// SPDX-License-Identifier: Apache-2.0
//
// Int8 depthwise convolution on AVX2: 16 channels of two taps, widened and interleaved, are the pairs that
// vpmaddwd sums exactly. Contract: kernels.h.
#include <immintrin.h>

#include "qslim/kernels/depthwise_u8s8/kernels.h"
#include "qslim/kernels/gemm/epilogue_avx2.h"

namespace qslim {
namespace {

constexpr std::size_t kBlock = 16;

__attribute__((always_inline)) inline __m256i widen(const unsigned char* x) {
  return _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(x)));
}

__attribute__((always_inline)) inline __m256i load(const unsigned char* p) {
  return _mm256_load_si256(reinterpret_cast<const __m256i*>(p));
}

// Steps > 0: so many, unrolled; 0: as many as the span says.
template <int Steps, class Epilogue>
void depthwise(const DepthwiseSpan& span, const Epilogue& epilogue) {
  const std::size_t steps = Steps > 0 ? Steps : span.steps;
  const auto* weights = static_cast<const unsigned char*>(span.weights);
  const auto* bias = static_cast<const unsigned char*>(span.bias);
  for (std::size_t c = 0; c < span.channels; c += kBlock, weights += steps * kBlock * 4) {
    const std::size_t channels = span.channels - c < kBlock ? span.channels - c : kBlock;
    const __m256i bias0 = load(bias + 4 * c), bias1 = load(bias + 4 * c + 32);
    unsigned char* y = span.y + c * Epilogue::kOutputBytes;
    std::size_t offset = c;
    for (std::size_t i = 0; i < span.pixels; ++i, offset += span.x_step, y += span.y_step) {
      __m256i acc[1][2] = {{bias0, bias1}};
      const auto add = [&](std::size_t step) __attribute__((always_inline)) {
        const __m256i first = widen(span.x[2 * step] + offset), second = widen(span.x[2 * step + 1] + offset);
        const unsigned char* w = weights + step * kBlock * 4;
        acc[0][0] =
            _mm256_add_epi32(acc[0][0], _mm256_madd_epi16(_mm256_unpacklo_epi16(first, second), load(w)));
        acc[0][1] = _mm256_add_epi32(acc[0][1],
                                     _mm256_madd_epi16(_mm256_unpackhi_epi16(first, second), load(w + 32)));
      };
      if constexpr (Steps > 0) {
        _Pragma("GCC unroll 16") for (int step = 0; step < Steps; ++step) add(static_cast<std::size_t>(step));
      } else {
        for (std::size_t step = 0; step < steps; ++step) add(step);
      }
      epilogue.template store<1, 2>(acc, channels, nullptr, span.multiplier + c, &y);
    }
  }
}

template <class Epilogue>
void depthwise_any(const DepthwiseSpan& span, const Epilogue& epilogue) {
  span.steps == 5 ? depthwise<5>(span, epilogue) : depthwise<0>(span, epilogue);
}

}  // namespace

void depthwise_u8s8_requantize_avx2(const DepthwiseSpan& span, const Requantization& p) noexcept {
  depthwise_any(span, RequantizeRows(p));
}

void depthwise_u8s8_real_avx2(const DepthwiseSpan& span) noexcept { depthwise_any(span, RealRows{}); }

}  // namespace qslim
