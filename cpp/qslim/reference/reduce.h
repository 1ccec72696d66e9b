// SPDX-License-Identifier: Apache-2.0
//
// Reductions over one run of floats: the specification of their kernels.
//
//   abs_max         max |x[i]| by the bits without their sign: NaN and infinity surface instead of vanishing
//   min_max         by order_key: -0 < +0, and a NaN lands at one end, where is_nan finds it
//   sum             in double, in a fixed order that vector units can follow (below)
//   sum_of_squares  likewise; the square of a float is exact in double
//
// Order of a sum: the run is cut into blocks of kSumBlock elements. In a block, lane j of kSumLanes adds the
// elements i with i % kSumLanes == j in rising order, starting from +0; the lanes are then folded in halves
// (j with j + 8, then + 4, + 2, + 1). Block sums are added in order. So every instruction set and any number
// of threads gives the same bits.
#pragma once

#include <cstddef>
#include <cstdint>

namespace qslim::reference {

inline constexpr std::size_t kSumBlock = 4096;
inline constexpr std::size_t kSumLanes = 16;

// Map the bits of a float to an integer of the same order; its own inverse.
std::int32_t order_key(std::int32_t bits) noexcept;

std::uint32_t abs_max_bits(std::size_t n, const float* x) noexcept;
void min_max_keys(std::size_t n, const float* x, std::int32_t* min_key, std::int32_t* max_key) noexcept;
// The order itself, for any terms: term(i) is the double that element i adds.
template <class Term>
double sum_of_terms(std::size_t n, const Term& term) {
  double total = 0;
  for (std::size_t begin = 0; begin < n; begin += kSumBlock) {
    const std::size_t end = n - begin < kSumBlock ? n : begin + kSumBlock;
    double lanes[kSumLanes] = {};
    for (std::size_t i = begin; i < end; ++i) lanes[(i - begin) % kSumLanes] += term(i);
    for (std::size_t half = kSumLanes / 2; half > 0; half /= 2) {
      for (std::size_t j = 0; j < half; ++j) lanes[j] += lanes[j + half];
    }
    total += lanes[0];
  }
  return total;
}

double sum(std::size_t n, const float* x) noexcept;
double sum_of_squares(std::size_t n, const float* x) noexcept;

}  // namespace qslim::reference
