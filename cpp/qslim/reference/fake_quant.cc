// SPDX-License-Identifier: Apache-2.0
//
// The formulas of fake_quant.h, one number at a time and in their plainest form.
#include "qslim/reference/fake_quant.h"

#include <cmath>

namespace qslim::reference {
namespace {

// Return q - zero_point before it is clamped: round(x / scale).
float rounded_steps(float x, const QParams& p, Rounding rounding) noexcept {
  const float inv_scale = 1.0f / p.scale;
  return round(x * inv_scale, rounding);
}

}  // namespace

float round(float v, Rounding rounding) noexcept {
  // nearbyint rounds ties to even: nobody here changes the rounding mode.
  return rounding == Rounding::kTiesToEven ? std::nearbyint(v) : std::round(v);
}

float fake_quant(float x, const QParams& p, Rounding rounding) noexcept {
  if (std::isnan(x)) return x;
  return dequantize(quantize(x, p, rounding), p);
}

float fake_quant_backward_clipped(float x, float g, const QParams& p, Rounding rounding) noexcept {
  const float position = rounded_steps(x, p, rounding);
  const bool kept = position >= static_cast<float>(p.qmin - p.zero_point) &&
                    position <= static_cast<float>(p.qmax - p.zero_point);
  return kept ? g : 0.0f;
}

std::int32_t quantize(float x, const QParams& p, Rounding rounding) noexcept {
  const float position = rounded_steps(x, p, rounding);
  if (!(position > static_cast<float>(p.qmin - p.zero_point))) return p.qmin;  // also NaN
  if (position >= static_cast<float>(p.qmax - p.zero_point)) return p.qmax;
  return static_cast<std::int32_t>(position) + p.zero_point;
}

float dequantize(std::int32_t q, const QParams& p) noexcept {
  return static_cast<float>(q - p.zero_point) * p.scale;
}

}  // namespace qslim::reference
