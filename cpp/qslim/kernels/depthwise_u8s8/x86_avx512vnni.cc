// SPDX-License-Identifier: Apache-2.0
//
// Int8 depthwise convolution on AVX-512 VNNI: 64 channels of four taps, interleaved, are the quadruples that
// vpdpbusd sums exactly. Unpacking within 128 bits puts the channels in the order that packing the results
// undoes. Contract: kernels.h.
#include "qslim/kernels/conv_blocks/epilogue_avx512.h"
#include "qslim/kernels/depthwise_u8s8/kernels.h"
#include "qslim/kernels/x86_avx512.h"

namespace qslim {
namespace {

constexpr std::size_t kBlock = 64;

// The bytes of four taps, channel by channel.
struct Quadruples {
  __m512i part[4];
};

__attribute__((always_inline)) inline Quadruples interleave(__m512i a, __m512i b, __m512i c, __m512i d) {
  const __m512i ab_low = _mm512_unpacklo_epi8(a, b), ab_high = _mm512_unpackhi_epi8(a, b);
  const __m512i cd_low = _mm512_unpacklo_epi8(c, d), cd_high = _mm512_unpackhi_epi8(c, d);
  return {{_mm512_unpacklo_epi16(ab_low, cd_low), _mm512_unpackhi_epi16(ab_low, cd_low),
           _mm512_unpacklo_epi16(ab_high, cd_high), _mm512_unpackhi_epi16(ab_high, cd_high)}};
}

__attribute__((always_inline)) inline __m512i multiply_add(__m512i acc, __m512i u, __m512i s) {
#if QSLIM_EMULATE_AVX512
  return _mm512_dpbusd_epi32(acc, u, s);
#else
  asm("vpdpbusd %[s], %[u], %[acc]" : [acc] "+v"(acc) : [u] "v"(u), [s] "vm"(s));
  return acc;
#endif
}

// Steps > 0: so many, unrolled; 0: as many as the span says.
template <int Steps, class Epilogue>
void depthwise(const DepthwiseSpan& span, const Epilogue& epilogue) {
  const std::size_t steps = Steps > 0 ? Steps : span.steps;
  const auto* weights = static_cast<const unsigned char*>(span.weights);
  for (std::size_t c = 0; c < span.channels; c += kBlock, weights += steps * kBlock * 4) {
    const std::size_t channels = span.channels - c < kBlock ? span.channels - c : kBlock;
    unsigned char* y = span.y + c * Epilogue::kOutputBytes;
    std::size_t offset = c;
    for (std::size_t i = 0; i < span.pixels; ++i, offset += span.x_step, y += span.y_step) {
      __m512i acc[1][4];
      for (int j = 0; j < 4; ++j) acc[0][j] = _mm512_load_si512(span.start + c + 16 * j);
      const auto add = [&](std::size_t step) __attribute__((always_inline)) {
        const unsigned char* const* x = span.x + 4 * step;
        const unsigned char* w = weights + step * kBlock * 4;
        const Quadruples q = interleave(_mm512_loadu_si512(x[0] + offset), _mm512_loadu_si512(x[1] + offset),
                                        _mm512_loadu_si512(x[2] + offset), _mm512_loadu_si512(x[3] + offset));
        for (int j = 0; j < 4; ++j) {
          acc[0][j] = multiply_add(acc[0][j], q.part[j], _mm512_load_si512(w + 64 * j));
        }
      };
      if constexpr (Steps > 0) {
        _Pragma("GCC unroll 16") for (int step = 0; step < Steps; ++step) add(static_cast<std::size_t>(step));
      } else {
        for (std::size_t step = 0; step < steps; ++step) add(step);
      }
      epilogue.template store<1, 4>(acc, channels, span.multiplier + c, span.bias + c, &y);
    }
  }
}

// 3x3, sliding: each column is interleaved once for the three outputs that see it.
template <class Epilogue>
void slide_3x3(const DepthwiseSpan& span, const Epilogue& epilogue) {
  const auto* weights = static_cast<const unsigned char*>(span.weights);
  for (std::size_t c = 0; c < span.channels; c += kBlock, weights += 3 * kBlock * 4) {
    const std::size_t channels = span.channels - c < kBlock ? span.channels - c : kBlock;
    const unsigned char* row0 = span.x[0] + c;
    const unsigned char* row1 = span.x[1] + c;
    const unsigned char* row2 = span.x[2] + c;
    unsigned char* y = span.y + c * Epilogue::kOutputBytes;
    __m512i w[3][4], current[1][4], next[4];
    _Pragma("GCC unroll 4") for (int j = 0; j < 4; ++j) {
      _Pragma("GCC unroll 4") for (int k = 0; k < 3; ++k) {
        w[k][j] = _mm512_load_si512(weights + (k * 4 + j) * 64);
      }
      current[0][j] = next[j] = _mm512_load_si512(span.start + c + 16 * j);
    }
    // The first two columns finish no output.
    for (std::size_t column = 0; column < span.pixels + 2; ++column) {
      const std::size_t offset = column * span.x_step;
      const Quadruples q = interleave(_mm512_loadu_si512(row0 + offset), _mm512_loadu_si512(row1 + offset),
                                      _mm512_loadu_si512(row2 + offset), _mm512_setzero_si512());
      _Pragma("GCC unroll 4") for (int j = 0; j < 4; ++j) {
        current[0][j] = multiply_add(current[0][j], q.part[j], w[2][j]);
      }
      if (column >= 2) {
        epilogue.template store<1, 4>(current, channels, span.multiplier + c, span.bias + c, &y);
        y += span.y_step;
      }
      _Pragma("GCC unroll 4") for (int j = 0; j < 4; ++j) {
        current[0][j] = multiply_add(next[j], q.part[j], w[1][j]);
        next[j] = multiply_add(_mm512_load_si512(span.start + c + 16 * j), q.part[j], w[0][j]);
      }
    }
  }
}

template <class Epilogue>
void depthwise_any(const DepthwiseSpan& span, const Epilogue& epilogue) {
  if (span.inner_side == 3 && span.column_step == span.x_step) {
    slide_3x3(span, epilogue);
    return;
  }
  span.steps == 3 ? depthwise<3>(span, epilogue) : depthwise<0>(span, epilogue);
}

}  // namespace

void depthwise_u8s8_requantize_avx512vnni(const DepthwiseSpan& span, const Requantization& p) noexcept {
  depthwise_any(span, RequantizeRows(p));
}

void depthwise_u8s8_real_avx512vnni(const DepthwiseSpan& span) noexcept { depthwise_any(span, RealRows{}); }

}  // namespace qslim
