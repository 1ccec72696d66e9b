// SPDX-License-Identifier: Apache-2.0
//
// Int8 depthwise convolution without vector intrinsics, 16 channels at a time. Contract: kernels.h.
#include "qslim/kernels/depthwise_u8s8/kernels.h"

namespace qslim {
namespace {

constexpr std::size_t kBlock = 16;

template <class Store>
void depthwise(const DepthwiseSpan& span, const Store& store) {
  const std::size_t block_bytes = span.steps * kBlock * 4;
  const auto* weights = static_cast<const unsigned char*>(span.weights);
  for (std::size_t c = 0; c < span.channels; c += kBlock, weights += block_bytes) {
    const std::size_t channels = span.channels - c < kBlock ? span.channels - c : kBlock;
    for (std::size_t i = 0; i < span.pixels; ++i) {
      std::int32_t acc[kBlock];
      __builtin_memcpy(acc, span.start + c, sizeof acc);
      for (std::size_t tap = 0; tap < 2 * span.steps; ++tap) {  // some with a weight of zero
        const unsigned char* x = span.x[tap] + i * span.x_step + c;
        std::int16_t pairs[kBlock][2];
        __builtin_memcpy(pairs, weights + tap / 2 * sizeof pairs, sizeof pairs);
        // Unsigned: with the zero point's share, a partial sum may wrap.
        for (std::size_t e = 0; e < channels; ++e) {
          acc[e] = static_cast<std::int32_t>(static_cast<std::uint32_t>(acc[e]) +
                                             static_cast<std::uint32_t>(x[e] * pairs[e][tap % 2]));
        }
      }
      store(acc, channels, span.y + i * span.y_step, c);
    }
  }
}

}  // namespace

void depthwise_u8s8_requantize_scalar(const DepthwiseSpan& span, const Requantization& p) noexcept {
  const auto lo = static_cast<float>(p.lo - p.zero_point), hi = static_cast<float>(p.hi - p.zero_point);
  depthwise(span, [&](const std::int32_t* acc, std::size_t channels, unsigned char* y, std::size_t c) {
    constexpr float kMagic = 0x1.8p23f;  // the sum has no fraction bits left: adding it rounds, to even
    for (std::size_t e = 0; e < channels; ++e) {
      float v = static_cast<float>(acc[e]) * span.multiplier[c + e] + span.bias[c + e];
      v = v > lo ? v : lo;
      v = v < hi ? v : hi;
      v = (v + kMagic) - kMagic;
      y[c + e] = static_cast<std::uint8_t>(static_cast<std::int32_t>(v) + p.zero_point);
    }
  });
}

void depthwise_u8s8_real_scalar(const DepthwiseSpan& span) noexcept {
  depthwise(span, [&](const std::int32_t* acc, std::size_t channels, unsigned char* y, std::size_t c) {
    for (std::size_t e = 0; e < channels; ++e) {
      const float v = static_cast<float>(acc[e]) * span.multiplier[c + e] + span.bias[c + e];
      __builtin_memcpy(y + 4 * (c + e), &v, 4);
    }
  });
}

}  // namespace qslim
