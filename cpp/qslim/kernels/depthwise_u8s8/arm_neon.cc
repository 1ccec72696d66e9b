// SPDX-License-Identifier: Apache-2.0
//
// Int8 depthwise convolution on NEON, 8 channels at a time: bytes widen to 16 bits and multiply into sums of
// 32. Contract: kernels.h.
#include "qslim/kernels/conv_blocks/epilogue_neon.h"
#include "qslim/kernels/depthwise_u8s8/kernels.h"

namespace qslim {
namespace {

constexpr std::size_t kBlock = 16, kChannels = 8;

QSLIM_INLINE int16x8_t widen(const unsigned char* x) { return vreinterpretq_s16_u16(vmovl_u8(vld1_u8(x))); }

QSLIM_INLINE void multiply_add(int32x4_t (&acc)[2], int16x8_t x, int16x8_t w) {
  acc[0] = vmlal_s16(acc[0], vget_low_s16(x), vget_low_s16(w));
  acc[1] = vmlal_high_s16(acc[1], x, w);
}

// Steps > 0: so many, whose weights are taken apart once; 0: as many as the span says.
template <int Steps, class Epilogue>
void depthwise(const DepthwiseSpan& span, const Epilogue& epilogue) {
  for (std::size_t c = 0; c < span.channels; c += kChannels) {
    const std::size_t channels = span.channels - c < kChannels ? span.channels - c : kChannels;
    // [step][channel of the block][tap of the pair]
    const auto* weights =
        static_cast<const std::int16_t*>(span.weights) + (c / kBlock * span.steps * kBlock + c % kBlock) * 2;
    int16x8x2_t w[Steps > 0 ? Steps : 1];
    if constexpr (Steps > 0) {
      for (int step = 0; step < Steps; ++step) w[step] = vld2q_s16(weights + 2 * kBlock * step);
    }
    const int32x4_t start[2] = {vld1q_s32(span.start + c), vld1q_s32(span.start + c + 4)};
    unsigned char* y = span.y + c * Epilogue::kOutputBytes;
    std::size_t offset = c;
    for (std::size_t i = 0; i < span.pixels; ++i, offset += span.x_step, y += span.y_step) {
      int32x4_t acc[1][2] = {{start[0], start[1]}};
      const auto add = [&](std::size_t step, const int16x8x2_t& pair) __attribute__((always_inline)) {
        multiply_add(acc[0], widen(span.x[2 * step] + offset), pair.val[0]);
        multiply_add(acc[0], widen(span.x[2 * step + 1] + offset), pair.val[1]);
      };
      if constexpr (Steps > 0) {
        QSLIM_UNROLL for (int step = 0; step < Steps; ++step) add(static_cast<std::size_t>(step), w[step]);
      } else {
        for (std::size_t step = 0; step < span.steps; ++step) {
          add(step, vld2q_s16(weights + 2 * kBlock * step));
        }
      }
      epilogue.template store<1, 2>(acc, channels, span.multiplier + c, span.bias + c, OutputRows{y});
    }
  }
}

template <class Epilogue>
void depthwise_any(const DepthwiseSpan& span, const Epilogue& epilogue) {
  switch (span.steps) {
    case 5: depthwise<5>(span, epilogue); break;    // 3x3
    case 13: depthwise<13>(span, epilogue); break;  // 5x5
    default: depthwise<0>(span, epilogue);
  }
}

}  // namespace

void depthwise_u8s8_requantize_neon(const DepthwiseSpan& span, const Requantization& p) noexcept {
  depthwise_any(span, RequantizeRows(p));
}

void depthwise_u8s8_real_neon(const DepthwiseSpan& span) noexcept { depthwise_any(span, RealRows{}); }

}  // namespace qslim
