// SPDX-License-Identifier: Apache-2.0
//
// Errors in units of the last place.
#pragma once

#include <algorithm>
#include <cmath>

namespace qslim::test {

// The error of y in steps of float at the true value; subnormal results count steps of the smallest normal
// number, which are their own.
inline double ulps(float y, double truth) {
  if (std::isnan(truth)) return std::isnan(y) ? 0 : 1e30;
  const float rounded = static_cast<float>(truth);
  if (std::isinf(rounded) || std::isinf(y)) return rounded == y || std::fabs(truth) > 3.40e38 ? 0 : 1e30;
  const int exponent = std::max(std::ilogb(truth == 0 ? 1e-300 : truth), -126);
  return std::fabs(static_cast<double>(y) - truth) / std::ldexp(1.0, exponent - 23);
}

}  // namespace qslim::test
