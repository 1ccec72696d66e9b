// SPDX-License-Identifier: Apache-2.0
//
// Histogram kernels: the functions of each instruction set. reference/histogram.h defines the bins.
//
// Counts go to two tables that the caller clears first and adds up afterwards: neighbours that fall into one
// bin would otherwise wait for each other's store (tensors after ReLU6 are full of 0 and of 6).
//   linear  counts[2][bins + 1], the last entry counts numbers outside of [lo, hi]
//   signed  counts[2][2 * bins + kZeroSlots]: bins of x >= 0, bins of x < 0, and zeros, spread over the last
//           entries; they belong to bin 0
// No entry may pass 2^32 - 1, so fewer than 2^32 elements between two clearings.
// Included by per-ISA files: plain declarations only.
#pragma once

#include <cstddef>
#include <cstdint>

namespace qslim {

inline constexpr std::size_t kZeroSlots = 16;

struct LinearBins {
  float lo, hi;
  float bins_per_unit;  // bins / (hi - lo)
  float doubt;          // positions this close to an edge are looked up there; above 0.5: all are
  std::uint32_t bins;
  const float* edges;  // [bins + 1]
};

using HistogramLinearFn = void (*)(std::size_t n, const float* x, const LinearBins& b,
                                   std::uint32_t* counts) noexcept;
// bins is a power of two <= 2^14, bins_per_unit a power of two; every x is finite.
using HistogramSignedFn = void (*)(std::size_t n, const float* x, float bins_per_unit, std::uint32_t bins,
                                   std::uint32_t* counts) noexcept;

#define QSLIM_HISTOGRAM_KERNELS(isa, suffix)                                                                 \
  void histogram_linear_f32_##suffix(std::size_t n, const float* x, const LinearBins& b,                     \
                                     std::uint32_t* counts) noexcept;                                        \
  void histogram_signed_f32_##suffix(std::size_t n, const float* x, float bins_per_unit, std::uint32_t bins, \
                                     std::uint32_t* counts) noexcept;
#include "qslim/kernels/histogram/kernels.inc"
#undef QSLIM_HISTOGRAM_KERNELS

}  // namespace qslim
