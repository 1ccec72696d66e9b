// SPDX-License-Identifier: Apache-2.0
//
// Convolution by obvious loops: the specification of every convolution kernel.
//
//   acc[n, oh, ow, oc] = sum over (kh, kw, ic) of (x - x_zero_point) * w, exact in int32
//   rescale(acc)       = float(acc) * multiplier + bias, rounded to float after the product and after the sum
//   requantize(r)      = clamp(round_half_even(r * inverse_scale) + zero_point, lo, hi), the product a float
//   conv_f32           one chain of fused multiply-adds in the order (kh, kw, ic) from +0, then + bias, then
//                      min(max(., lo), hi); a NaN stays one
//
// Taps outside x take part as x_zero_point, or as 0.0f: fma(0, w, -0) is +0. A value beyond the range of
// int clamps, infinities included. Weights are [OC, IC / groups, KH, KW]; bias is [OC] or null.
#pragma once

#include <cstdint>

#include "qslim/core/conv_geometry.h"

namespace qslim::reference {

float rescale(std::int32_t acc, float multiplier, float bias) noexcept;
std::uint8_t requantize(float r, float inverse_scale, std::uint8_t zero_point, std::uint8_t lo,
                        std::uint8_t hi) noexcept;

// acc [N, OH, OW, OC], contiguous.
void conv_u8s8(const ConvGeometry& geometry, const ConvExtents& extents, const std::uint8_t* x,
               std::uint8_t x_zero_point, const std::int8_t* weights, std::int32_t* acc);

// y [N, OH, OW, OC], contiguous.
void conv_f32(const ConvGeometry& geometry, const ConvExtents& extents, const float* x, const float* weights,
              const float* bias, float lo, float hi, float* y);

}  // namespace qslim::reference
