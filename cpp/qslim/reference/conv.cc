// SPDX-License-Identifier: Apache-2.0
//
// The loops of conv.h, written to be read.
#include "qslim/reference/conv.h"

#include <algorithm>
#include <cmath>

namespace qslim::reference {
namespace {

// Calls tap(x, w) for every product of one output, in the order (kh, kw, ic); x is `outside` beyond the
// image.
template <class X, class W, class Tap>
void for_each_tap(const ConvGeometry& g, const ConvExtents& e, const X* x, X outside, const W* weights,
                  std::size_t n, std::size_t oh, std::size_t ow, std::size_t oc, const Tap& tap) {
  const std::size_t channels = g.input_channels / g.groups;
  const std::size_t first = oc / (g.output_channels / g.groups) * channels;
  for (std::size_t kh = 0; kh < g.kernel_h; ++kh) {
    for (std::size_t kw = 0; kw < g.kernel_w; ++kw) {
      const auto ih = static_cast<std::ptrdiff_t>(oh * g.stride_h + kh * g.dilation_h) - e.pad_top;
      const auto iw = static_cast<std::ptrdiff_t>(ow * g.stride_w + kw * g.dilation_w) - e.pad_left;
      const bool inside = ih >= 0 && ih < static_cast<std::ptrdiff_t>(e.in_h) && iw >= 0 &&
                          iw < static_cast<std::ptrdiff_t>(e.in_w);
      for (std::size_t ic = 0; ic < channels; ++ic) {
        X value = outside;
        if (inside) {
          const std::size_t pixel =
              (n * e.in_h + static_cast<std::size_t>(ih)) * e.in_w + static_cast<std::size_t>(iw);
          value = x[pixel * e.x_pixel_stride + first + ic];
        }
        tap(value, weights[((oc * channels + ic) * g.kernel_h + kh) * g.kernel_w + kw]);
      }
    }
  }
}

template <class Output>
void for_each_output(const ConvGeometry& g, const ConvExtents& e, const Output& output) {
  std::size_t index = 0;
  for (std::size_t n = 0; n < e.batch; ++n) {
    for (std::size_t oh = 0; oh < e.out_h; ++oh) {
      for (std::size_t ow = 0; ow < e.out_w; ++ow) {
        for (std::size_t oc = 0; oc < g.output_channels; ++oc) output(n, oh, ow, oc, index++);
      }
    }
  }
}

}  // namespace

float rescale(std::int32_t acc, float multiplier, float bias) noexcept {
  const float product = static_cast<float>(acc) * multiplier;
  return product + bias;
}

std::uint8_t requantize(float r, std::uint8_t zero_point, std::uint8_t lo, std::uint8_t hi) noexcept {
  const double q = std::nearbyint(static_cast<double>(r)) + zero_point;
  return static_cast<std::uint8_t>(std::min(std::max(q, static_cast<double>(lo)), static_cast<double>(hi)));
}

void conv_u8s8(const ConvGeometry& geometry, const ConvExtents& extents, const std::uint8_t* x,
               std::uint8_t x_zero_point, const std::int8_t* weights, std::int32_t* acc) {
  for_each_output(geometry, extents,
                  [&](std::size_t n, std::size_t oh, std::size_t ow, std::size_t oc, std::size_t index) {
                    std::int64_t sum = 0;
                    for_each_tap(geometry, extents, x, x_zero_point, weights, n, oh, ow, oc,
                                 [&](std::uint8_t value, std::int8_t weight) {
                                   sum += (std::int64_t{value} - x_zero_point) * weight;
                                 });
                    acc[index] = static_cast<std::int32_t>(sum);
                  });
}

void conv_f32(const ConvGeometry& geometry, const ConvExtents& extents, const float* x, const float* weights,
              const float* bias, float lo, float hi, float* y) {
  for_each_output(geometry, extents,
                  [&](std::size_t n, std::size_t oh, std::size_t ow, std::size_t oc, std::size_t index) {
                    float sum = 0;
                    for_each_tap(geometry, extents, x, 0.0f, weights, n, oh, ow, oc,
                                 [&](float value, float weight) { sum = std::fma(value, weight, sum); });
                    sum += bias != nullptr ? bias[oc] : 0.0f;
                    sum = lo > sum ? lo : sum;
                    y[index] = hi < sum ? hi : sum;
                  });
}

}  // namespace qslim::reference
