// SPDX-License-Identifier: Apache-2.0
//
// The reductions of reduce.h in their plainest form.
#include "qslim/reference/reduce.h"

#include <algorithm>
#include <cstring>

namespace qslim::reference {
namespace {

template <class T>
T bits_of(float x) noexcept {
  T bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}

}  // namespace

std::int32_t order_key(std::int32_t bits) noexcept { return bits < 0 ? bits ^ 0x7fffffff : bits; }

std::uint32_t abs_max_bits(std::size_t n, const float* x) noexcept {
  std::uint32_t largest = 0;
  for (std::size_t i = 0; i < n; ++i) largest = std::max(largest, bits_of<std::uint32_t>(x[i]) & 0x7fffffffu);
  return largest;
}

void min_max_keys(std::size_t n, const float* x, std::int32_t* min_key, std::int32_t* max_key) noexcept {
  *min_key = INT32_MAX;
  *max_key = INT32_MIN;
  for (std::size_t i = 0; i < n; ++i) {
    const std::int32_t key = order_key(bits_of<std::int32_t>(x[i]));
    *min_key = std::min(*min_key, key);
    *max_key = std::max(*max_key, key);
  }
}

double sum(std::size_t n, const float* x) noexcept {
  return sum_of_terms(n, [=](std::size_t i) { return static_cast<double>(x[i]); });
}

double sum_of_squares(std::size_t n, const float* x) noexcept {
  return sum_of_terms(n,
                      [=](std::size_t i) { return static_cast<double>(x[i]) * static_cast<double>(x[i]); });
}

}  // namespace qslim::reference
