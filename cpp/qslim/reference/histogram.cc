// SPDX-License-Identifier: Apache-2.0
//
// The two bin rules of histogram.h, by search and by formula.
#include "qslim/reference/histogram.h"

#include <cmath>

namespace qslim::reference {

std::uint32_t linear_bin(float x, std::uint32_t bins, const float* edges) noexcept {
  if (!(x >= edges[0] && x <= edges[bins])) return bins;
  std::uint32_t i = bins - 1;
  while (edges[i] > x) --i;
  return i;
}

std::uint32_t signed_bin(float x, float bins_per_unit, std::uint32_t bins) noexcept {
  const double position = std::trunc(static_cast<double>(std::fabs(x)) * bins_per_unit);
  const std::uint32_t bin = position < bins - 1 ? static_cast<std::uint32_t>(position) : bins - 1;
  return x < 0 ? bin + bins : bin;
}

}  // namespace qslim::reference
