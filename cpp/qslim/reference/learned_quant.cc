// SPDX-License-Identifier: Apache-2.0
//
// The formulas of learned_quant.h, one number at a time.
#include "qslim/reference/learned_quant.h"

#include <cmath>

#include "qslim/reference/fake_quant.h"

namespace qslim::reference {

PactGradient pact_backward(float x, float g, float threshold, bool is_unsigned) noexcept {
  if (std::isnan(x)) return {0.0f, 0.0};
  if (x > threshold) return {0.0f, static_cast<double>(g)};
  if (is_unsigned) return x < 0 ? PactGradient{0.0f, 0.0} : PactGradient{g, 0.0};
  if (x < -threshold) return {0.0f, -static_cast<double>(g)};
  return {g, 0.0};
}

LsqGradient lsq_backward(float x, float g, const QParams& p) noexcept {
  const float lo = static_cast<float>(p.qmin - p.zero_point), hi = static_cast<float>(p.qmax - p.zero_point);
  const float inv_scale = 1.0f / p.scale;
  const float v = x * inv_scale, r = round(v, Rounding::kTiesToEven);
  const double upstream = g;
  if (std::isnan(r)) return {0.0f, 0.0, 0.0};
  if (r < lo) return {0.0f, static_cast<double>(lo) * upstream, upstream};
  if (r > hi) return {0.0f, static_cast<double>(hi) * upstream, upstream};
  return {g, static_cast<double>(r - v) * upstream, 0.0};
}

}  // namespace qslim::reference
