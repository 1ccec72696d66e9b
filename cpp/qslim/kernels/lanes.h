// SPDX-License-Identifier: Apache-2.0
//
// Reductions over a contiguous run of floats with one order for every instruction set: lane j of 16 takes the
// elements i with i % 16 == j in rising order, starting from the neutral element (+0, 1, -inf, +inf); then
// the lanes are folded in halves: j with j + 8, then + 4, + 2, + 1. reference/lanes.h says it plainly.
//
// The vectors are those of the compiler (GCC, Clang): it cuts them to what the instruction set has.
// Internal linkage on purpose: per-ISA files include this.
#pragma once

#include <cstddef>

#include "qslim/kernels/loop_kernels.h"

namespace qslim {
namespace {

typedef float Lanes __attribute__((vector_size(32)));  // 8 of the 16

QSLIM_INLINE Lanes load_lanes(const float* x) noexcept {
  Lanes lanes;
  __builtin_memcpy(&lanes, x, sizeof lanes);
  return lanes;
}

QSLIM_INLINE Lanes all_lanes(float x) noexcept { return Lanes{x, x, x, x, x, x, x, x}; }

struct AddLanes {
  static constexpr float kNeutral = 0.0f;
  template <class T>
  QSLIM_INLINE static T merge(T a, T b) noexcept {
    return a + b;
  }
};

struct MultiplyLanes {
  static constexpr float kNeutral = 1.0f;
  template <class T>
  QSLIM_INLINE static T merge(T a, T b) noexcept {
    return a * b;
  }
};

// A NaN on either side stays.
struct MaxLanes {
  static constexpr float kNeutral = -__builtin_inff();
  template <class T>
  QSLIM_INLINE static T merge(T a, T b) noexcept {
    return (b > a) | (b != b) ? b : a;
  }
};

struct MinLanes {
  static constexpr float kNeutral = __builtin_inff();
  template <class T>
  QSLIM_INLINE static T merge(T a, T b) noexcept {
    return (b < a) | (b != b) ? b : a;
  }
};

// Merge map(x[i]); map takes and returns Lanes. Lanes of map(neutral) do not count.
template <class Merge, class Map>
QSLIM_INLINE float reduce_lanes(std::size_t n, const float* x, Map map) noexcept {
  Lanes low = all_lanes(Merge::kNeutral), high = low;
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    low = Merge::merge(low, map(load_lanes(x + i)));
    high = Merge::merge(high, map(load_lanes(x + i + 8)));
  }
  float lanes[16];
  __builtin_memcpy(lanes, &low, sizeof low);
  __builtin_memcpy(lanes + 8, &high, sizeof high);
  if (i < n) {
    float rest[16] = {};
    const std::size_t count = n - i;
    for (std::size_t j = 0; j < count; ++j) rest[j] = x[i + j];
    low = map(load_lanes(rest));
    high = map(load_lanes(rest + 8));
    __builtin_memcpy(rest, &low, sizeof low);
    __builtin_memcpy(rest + 8, &high, sizeof high);
    for (std::size_t j = 0; j < count; ++j) lanes[j] = Merge::merge(lanes[j], rest[j]);
  }
  for (std::size_t half = 8; half > 0; half /= 2) {
    for (std::size_t j = 0; j < half; ++j) lanes[j] = Merge::merge(lanes[j], lanes[j + half]);
  }
  return lanes[0];
}

template <class Merge>
QSLIM_INLINE float reduce_lanes(std::size_t n, const float* x) noexcept {
  return reduce_lanes<Merge>(n, x, [](Lanes lanes) __attribute__((always_inline)) { return lanes; });
}

}  // namespace
}  // namespace qslim
