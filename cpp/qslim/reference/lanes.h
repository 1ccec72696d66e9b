// SPDX-License-Identifier: Apache-2.0
//
// The order in which reductions over a contiguous run of floats work: the specification of kernels/lanes.h.
//
// Lane j of 16 takes the elements i with i % 16 == j in rising order, starting from `neutral`; the lanes are
// folded in halves (j with j + 8, then + 4, + 2, + 1).
#pragma once

#include <cstddef>

namespace qslim::reference {

template <class Merge>
float reduce_in_lanes(std::size_t n, const float* x, float neutral, const Merge& merge) {
  float lanes[16];
  for (float& lane : lanes) lane = neutral;
  for (std::size_t i = 0; i < n; ++i) lanes[i % 16] = merge(lanes[i % 16], x[i]);
  for (std::size_t half = 8; half > 0; half /= 2) {
    for (std::size_t j = 0; j < half; ++j) lanes[j] = merge(lanes[j], lanes[j + half]);
  }
  return lanes[0];
}

inline float sum_in_lanes(std::size_t n, const float* x) {
  return reduce_in_lanes(n, x, 0.0f, [](float a, float b) { return a + b; });
}

}  // namespace qslim::reference
