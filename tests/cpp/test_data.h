// SPDX-License-Identifier: Apache-2.0
//
// Inputs made to break kernels, and arrays that notice a write past their ends.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "qslim/core/isa.h"

namespace qslim::test {

// 0, 1 and k * 2^i with both neighbours, up to a few thousand.
inline std::vector<std::size_t> ugly_sizes() {
  std::vector<std::size_t> sizes = {0, 1, 2, 3, 5, 6, 7};
  for (const std::size_t k : {1, 3}) {
    for (std::size_t n = 8 * k; n <= 1024; n *= 2) {
      for (const std::size_t size : {n - 1, n, n + 1}) sizes.push_back(size);
    }
  }
  for (const std::size_t size : {4095, 4096, 4097, 5000, 8211}) sizes.push_back(size);
  return sizes;
}

// Ordinary numbers mixed with ties of step `step`, zeros of both signs, subnormals, huge ones; NaN and
// infinities if `with_specials`.
inline std::vector<float> ugly_floats(std::size_t n, unsigned seed, float step, bool with_specials) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, 40.0f * step);
  std::uniform_int_distribution<int> kind(0, 15), tie(-300, 300), special(0, 3);
  const float inf = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  std::vector<float> x(n);
  for (float& value : x) {
    switch (kind(random)) {
      case 0: value = 0.0f; break;
      case 1: value = -0.0f; break;
      case 2:
      case 3: value = (static_cast<float>(tie(random)) + 0.5f) * step; break;
      case 4: value = std::nextafter((static_cast<float>(tie(random)) + 0.5f) * step, 0.0f); break;
      case 5: value = static_cast<float>(tie(random)) * std::numeric_limits<float>::denorm_min(); break;
      case 6: value = static_cast<float>(tie(random)) * 1e34f; break;
      case 7: value = static_cast<float>(tie(random)) * step; break;
      case 8:
        if (with_specials) {
          const float specials[] = {nan, -nan, inf, -inf};
          value = specials[special(random)];
          break;
        }
        [[fallthrough]];
      default: value = normal(random);
    }
  }
  return x;
}

// n elements that start `offset` elements off a cache line, between canaries.
template <class T>
class GuardedArray {
 public:
  GuardedArray(std::size_t n, std::size_t offset)
      : n_(n), memory_((n + offset + 2 * kGuard) * sizeof(T), kCanary) {
    begin_ = kGuard * sizeof(T) + offset * sizeof(T);
  }
  GuardedArray(const std::vector<T>& values, std::size_t offset) : GuardedArray(values.size(), offset) {
    if (n_ > 0) std::memcpy(data(), values.data(), n_ * sizeof(T));
  }
  T* data() { return reinterpret_cast<T*>(memory_.data() + begin_); }
  void expect_canaries() const {
    for (std::size_t i = 0; i < memory_.size(); ++i) {
      if (i >= begin_ && i < begin_ + n_ * sizeof(T)) continue;
      ASSERT_EQ(memory_[i], kCanary) << "byte " << i << " beside an array of " << n_ << " elements";
    }
  }

 private:
  static constexpr std::size_t kGuard = 16;
  static constexpr unsigned char kCanary = 0xa5;
  std::size_t n_;
  std::size_t begin_;
  std::vector<unsigned char> memory_;
};

template <class T>
void expect_same_bits(const T* expected, const T* actual, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) {
    if (std::memcmp(expected + i, actual + i, sizeof(T)) != 0) {
      FAIL() << "element " << i << " of " << n << ": expected " << +expected[i] << ", got " << +actual[i];
    }
  }
}

}  // namespace qslim::test
