// SPDX-License-Identifier: Apache-2.0
//
// Float depthwise convolution without vector intrinsics. Contract: kernels.h.
#include "qslim/kernels/depthwise_f32/kernels.h"

namespace qslim {

void depthwise_f32_scalar(const DepthwiseSpan& span, const Clamp& clamp) noexcept {
  constexpr std::size_t kBlock = 8;
  for (std::size_t c = 0; c < span.channels; ++c) {
    const float* weights =
        static_cast<const float*>(span.weights) + c / kBlock * kBlock * span.steps + c % kBlock;
    for (std::size_t i = 0; i < span.pixels; ++i) {
      float sum = 0;
      for (std::size_t tap = 0; tap < span.taps; ++tap) {
        float x;
        __builtin_memcpy(&x, span.x[tap] + i * span.x_step + 4 * c, 4);
        sum = __builtin_fmaf(x, weights[tap * kBlock], sum);
      }
      sum += span.bias[c];
      sum = clamp.lo > sum ? clamp.lo : sum;
      sum = clamp.hi < sum ? clamp.hi : sum;
      __builtin_memcpy(span.y + i * span.y_step + 4 * c, &sum, 4);
    }
  }
}

}  // namespace qslim
