// SPDX-License-Identifier: Apache-2.0
//
// Float depthwise convolution on NEON, 8 channels at a time. Contract: kernels.h.
#include "qslim/kernels/conv_blocks/epilogue_neon.h"
#include "qslim/kernels/depthwise_f32/kernels.h"

namespace qslim {
namespace {

constexpr std::size_t kBlock = 8;

QSLIM_INLINE float32x4_t load(const unsigned char* x) { return vreinterpretq_f32_u8(vld1q_u8(x)); }

// Taps > 0: so many, whose weights stay in registers if they fit; 0: as many as the span says.
template <int Taps>
void depthwise(const DepthwiseSpan& span, const Clamp& clamp) {
  const float32x4_t lo = vdupq_n_f32(clamp.lo), hi = vdupq_n_f32(clamp.hi);
  const std::size_t taps = Taps > 0 ? Taps : span.taps;
  for (std::size_t c = 0; c < span.channels; c += kBlock) {
    const std::size_t channels = span.channels - c;
    const float* weights = static_cast<const float*>(span.weights) + c * span.steps;
    const float32x4_t bias[2] = {vld1q_f32(span.bias + c), vld1q_f32(span.bias + c + 4)};
    unsigned char* y = span.y + 4 * c;
    std::size_t offset = 4 * c;
    for (std::size_t i = 0; i < span.pixels; ++i, offset += span.x_step, y += span.y_step) {
      float32x4_t acc[2] = {vdupq_n_f32(0), vdupq_n_f32(0)};
      const auto add = [&](std::size_t tap) __attribute__((always_inline)) {
        const unsigned char* x = span.x[tap] + offset;
        acc[0] = vfmaq_f32(acc[0], load(x), vld1q_f32(weights + kBlock * tap));
        acc[1] = vfmaq_f32(acc[1], load(x + 16), vld1q_f32(weights + kBlock * tap + 4));
      };
      if constexpr (Taps > 0) {
        QSLIM_UNROLL for (int tap = 0; tap < Taps; ++tap) add(static_cast<std::size_t>(tap));
      } else {
        for (std::size_t tap = 0; tap < taps; ++tap) add(tap);
      }
      store_first_floats(y, clamp_floats(vaddq_f32(acc[0], bias[0]), lo, hi), channels);
      if (channels > 4) {
        store_first_floats(y + 16, clamp_floats(vaddq_f32(acc[1], bias[1]), lo, hi), channels - 4);
      }
    }
  }
}

}  // namespace

void depthwise_f32_neon(const DepthwiseSpan& span, const Clamp& clamp) noexcept {
  span.taps == 9 ? depthwise<9>(span, clamp) : depthwise<0>(span, clamp);
}

}  // namespace qslim
