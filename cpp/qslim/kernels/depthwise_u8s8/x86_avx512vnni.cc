// SPDX-License-Identifier: Apache-2.0
//
// Int8 depthwise convolution on AVX-512 VNNI: 64 channels of four taps, interleaved, are the quadruples that
// vpdpbusd sums exactly. For the kernel sizes and strides that depthwise_rows_u8s8 does not know. Contract:
// kernels.h.
#include "qslim/kernels/conv_blocks/epilogue_avx512.h"
#include "qslim/kernels/conv_blocks/interleave_avx512.h"
#include "qslim/kernels/depthwise_u8s8/kernels.h"
#include "qslim/kernels/x86_avx512.h"

namespace qslim {
namespace {

constexpr std::size_t kBlock = 64;

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
          multiply_add(acc[0][j], q.part[j], w + 64 * j);
        }
      };
      if constexpr (Steps > 0) {
        _Pragma("GCC unroll 16") for (int step = 0; step < Steps; ++step) add(static_cast<std::size_t>(step));
      } else {
        for (std::size_t step = 0; step < steps; ++step) add(step);
      }
      epilogue.template store<1, 4>(acc, channels, span.multiplier + c, span.bias + c, OutputRows{y, 0});
    }
  }
}

template <class Epilogue>
void depthwise_any(const DepthwiseSpan& span, const Epilogue& epilogue) {
  span.steps == 3 ? depthwise<3>(span, epilogue) : depthwise<0>(span, epilogue);
}

}  // namespace

void depthwise_u8s8_requantize_avx512vnni(const DepthwiseSpan& span, const Requantization& p) noexcept {
  with_requantize_rows(p, [&](const auto& epilogue) { depthwise_any(span, epilogue); });
}

void depthwise_u8s8_real_avx512vnni(const DepthwiseSpan& span) noexcept { depthwise_any(span, RealRows{}); }

}  // namespace qslim
