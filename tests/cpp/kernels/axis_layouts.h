// SPDX-License-Identifier: Apache-2.0
//
// Arrays [outer, axis, inner] that reductions and normalizations over the middle axis are tested on.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <cstring>
#include <functional>
#include <vector>

#include "qslim/core/context.h"
#include "test_data.h"

namespace qslim::test {

struct AxisLayout {
  std::size_t outer, axis, inner;
  std::size_t size() const { return outer * axis * inner; }
  std::size_t at(std::size_t o, std::size_t a, std::size_t i) const { return (o * axis + a) * inner + i; }
};

inline std::vector<AxisLayout> axis_layouts() {
  std::vector<AxisLayout> all = {{0, 5, 3},    {3, 5, 0},      {2, 7, 1},   {2, 7, 3},
                                 {1, 3, 100},  {3, 9, 64},     {2, 33, 65}, {1, 2, 700},
                                 {50, 40, 40}, {1, 100, 1000}, {200, 80, 1}};
  for (const std::size_t n : ugly_sizes()) {
    if (n > 0 && n < 1100) all.push_back({3, n, 1});
  }
  all.push_back({2, 8211, 1});
  return all;
}

// Expect equal bits, except that all NaNs are one.
template <class T>
void expect_same_numbers(const std::vector<T>& expected, const T* actual) {
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (expected[i] != expected[i] && actual[i] != actual[i]) continue;
    if (std::memcmp(&expected[i], actual + i, sizeof(T)) != 0) {
      FAIL() << "element " << i << " of " << expected.size() << ": expected " << expected[i] << ", got "
             << actual[i];
    }
  }
}

// Run `run` with 1 to 3 threads and compare its result with `expected`.
template <class T>
void check_threads(Isa isa, const std::vector<T>& expected, const std::function<void(Context&, T*)>& run) {
  for (const std::size_t threads : {1u, 2u, 3u}) {
    SCOPED_TRACE(testing::Message() << threads << " threads");
    Context context(threads, isa);
    GuardedArray<T> y(expected.size(), 1);
    run(context, y.data());
    expect_same_numbers(expected, y.data());
    y.expect_canaries();
    if (testing::Test::HasFailure()) return;
  }
}

}  // namespace qslim::test
