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

// The two halves of 16 channels.
struct Sums {
  __m256i low, high;
};

__attribute__((always_inline)) inline Sums interleave(__m256i a, __m256i b) {
  return {_mm256_unpacklo_epi16(a, b), _mm256_unpackhi_epi16(a, b)};
}

__attribute__((always_inline)) inline Sums multiply_add(const Sums& acc, const Sums& pairs,
                                                        const unsigned char* weights) {
  return {_mm256_add_epi32(acc.low, _mm256_madd_epi16(pairs.low, load(weights))),
          _mm256_add_epi32(acc.high, _mm256_madd_epi16(pairs.high, load(weights + 32)))};
}

// 3x3, sliding: each column is widened and interleaved once for the three outputs that see it. With rows 0
// and 1 of column c paired in A(c), and columns c and c + 1 of row 2 in B(c), output i is
//   A(i) * w[0] + A(i + 1) * w[1] + A(i + 2) * w[2] + B(i) * w[3] + B(i + 1) * w[4].
template <class Epilogue>
void slide_3x3(const DepthwiseSpan& span, const Epilogue& epilogue) {
  const auto* weights = static_cast<const unsigned char*>(span.weights);
  const auto* bias_bytes = static_cast<const unsigned char*>(span.bias);
  constexpr std::size_t kStep = kBlock * 4;
  for (std::size_t c = 0; c < span.channels; c += kBlock, weights += 5 * kStep) {
    const std::size_t channels = span.channels - c < kBlock ? span.channels - c : kBlock;
    const Sums bias = {load(bias_bytes + 4 * c), load(bias_bytes + 4 * c + 32)};
    const unsigned char* row0 = span.x[0] + c;
    const unsigned char* row1 = span.x[1] + c;
    const unsigned char* row2 = span.x[6] + c;
    unsigned char* y = span.y + c * Epilogue::kOutputBytes;

    Sums a = interleave(widen(row0), widen(row1));
    Sums current = multiply_add(bias, a, weights);
    __m256i before = widen(row2);
    std::size_t offset = span.x_step;
    a = interleave(widen(row0 + offset), widen(row1 + offset));
    __m256i now = widen(row2 + offset);
    current =
        multiply_add(multiply_add(current, a, weights + kStep), interleave(before, now), weights + 3 * kStep);
    Sums next = multiply_add(bias, a, weights);
    for (std::size_t i = 0; i < span.pixels; ++i, y += span.y_step) {
      before = now;
      offset += span.x_step;
      a = interleave(widen(row0 + offset), widen(row1 + offset));
      now = widen(row2 + offset);
      const Sums b = interleave(before, now);
      current = multiply_add(multiply_add(current, a, weights + 2 * kStep), b, weights + 4 * kStep);
      const __m256i acc[1][2] = {{current.low, current.high}};
      epilogue.template store<1, 2>(acc, channels, nullptr, span.multiplier + c, &y);
      current = multiply_add(multiply_add(next, a, weights + kStep), b, weights + 3 * kStep);
      next = multiply_add(bias, a, weights);
    }
  }
}

template <class Epilogue>
void depthwise_any(const DepthwiseSpan& span, const Epilogue& epilogue) {
  if (span.column_step == span.x_step) {
    slide_3x3(span, epilogue);
    return;
  }
  switch (span.steps) {
    case 5: depthwise<5>(span, epilogue); break;    // 3x3
    case 13: depthwise<13>(span, epilogue); break;  // 5x5
    default: depthwise<0>(span, epilogue);
  }
}

}  // namespace

void depthwise_u8s8_requantize_avx2(const DepthwiseSpan& span, const Requantization& p) noexcept {
  depthwise_any(span, RequantizeRows(p));
}

void depthwise_u8s8_real_avx2(const DepthwiseSpan& span) noexcept { depthwise_any(span, RealRows{}); }

}  // namespace qslim
