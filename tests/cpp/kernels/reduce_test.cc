// SPDX-License-Identifier: Apache-2.0
//
// Every reduction kernel against the reference, bit for bit; then the entry points.
#include "qslim/kernels/reduce/reduce.h"

#include <gtest/gtest.h>

#include "kernels/kernel_rows.h"
#include "qslim/kernels/reduce/table.h"
#include "qslim/reference/reduce.h"
#include "test_data.h"

namespace qslim {
namespace {

using test::expect_same_bits;
using test::GuardedArray;

class Reduce : public test::KernelTest<ReduceKernels> {};
QSLIM_TEST_KERNEL_ROWS(Reduce, "reduce", kReduceKernels);

constexpr std::size_t kRows = 3;

TEST_P(Reduce, AbsMaxEqualsTheReference) {
  for (const std::size_t n : test::ugly_sizes()) {
    GuardedArray<float> x(test::ugly_floats(kRows * n, unsigned(n), 1.0f, n % 2 == 0), n % 5);
    GuardedArray<std::uint32_t> acc(std::vector<std::uint32_t>(kRows, 0), n % 3);
    GuardedArray<std::uint32_t> each(std::vector<std::uint32_t>(n, 0x3f800000u), n % 4);
    kernels().abs_max_rows(kRows, n, x.data(), acc.data());
    for (std::size_t r = 0; r < kRows; ++r) {
      ASSERT_EQ(acc.data()[r], reference::abs_max_bits(n, x.data() + r * n)) << n;
    }
    kernels().abs_max_elements(n, x.data(), each.data());
    for (std::size_t i = 0; i < n; ++i) {
      ASSERT_EQ(each.data()[i], std::max(0x3f800000u, reference::abs_max_bits(1, x.data() + i)));
    }
    acc.expect_canaries();
    each.expect_canaries();
  }
}

TEST_P(Reduce, MinMaxEqualsTheReference) {
  for (const std::size_t n : test::ugly_sizes()) {
    GuardedArray<float> x(test::ugly_floats(kRows * n, unsigned(n), 1.0f, n % 2 == 0), n % 5);
    GuardedArray<std::int32_t> low(std::vector<std::int32_t>(kRows, INT32_MAX), 1);
    GuardedArray<std::int32_t> high(std::vector<std::int32_t>(kRows, INT32_MIN), 2);
    GuardedArray<std::int32_t> each_low(std::vector<std::int32_t>(n, 5), n % 4),
        each_high(std::vector<std::int32_t>(n, 5), n % 3);
    kernels().min_max_rows(kRows, n, x.data(), low.data(), high.data());
    for (std::size_t r = 0; r < kRows; ++r) {
      std::int32_t min_key, max_key;
      reference::min_max_keys(n, x.data() + r * n, &min_key, &max_key);
      ASSERT_EQ(low.data()[r], min_key) << n;
      ASSERT_EQ(high.data()[r], max_key) << n;
    }
    kernels().min_max_elements(n, x.data(), each_low.data(), each_high.data());
    for (std::size_t i = 0; i < n; ++i) {
      std::int32_t min_key, max_key;
      reference::min_max_keys(1, x.data() + i, &min_key, &max_key);
      ASSERT_EQ(each_low.data()[i], std::min(5, min_key));
      ASSERT_EQ(each_high.data()[i], std::max(5, max_key));
    }
    low.expect_canaries();
    high.expect_canaries();
    each_low.expect_canaries();
    each_high.expect_canaries();
  }
}

void check_sums(SumRowsFn rows, SumElementsFn elements, double (*reference_sum)(std::size_t, const float*)) {
  for (const std::size_t n : test::ugly_sizes()) {
    GuardedArray<float> x(test::ugly_floats(kRows * n, unsigned(n), 1.0f, false), n % 5);
    GuardedArray<double> acc(std::vector<double>(kRows, 0.0), 1), each(std::vector<double>(n, 0.1), n % 3);
    std::vector<double> expected(kRows), expected_each(n);
    for (std::size_t r = 0; r < kRows; ++r) expected[r] = reference_sum(n, x.data() + r * n);
    for (std::size_t i = 0; i < n; ++i) expected_each[i] = 0.1 + reference_sum(1, x.data() + i);
    rows(kRows, n, x.data(), acc.data());
    expect_same_bits(expected.data(), acc.data(), kRows);
    elements(n, x.data(), each.data());
    expect_same_bits(expected_each.data(), each.data(), n);
    acc.expect_canaries();
    each.expect_canaries();
  }
}

TEST_P(Reduce, SumsEqualTheReference) {
  check_sums(kernels().sum_rows, kernels().sum_elements,
             [](std::size_t n, const float* x) { return reference::sum(n, x); });
  check_sums(kernels().sum_of_squares_rows, kernels().sum_of_squares_elements,
             [](std::size_t n, const float* x) { return reference::sum_of_squares(n, x); });
}

TEST_P(Reduce, EveryLayoutAndThreadCountEqualsTheReference) {
  const ChannelExtents layouts[] = {{1, 1, 300000}, {2, 64, 1500},  {1, 300, 9},  {1000, 3, 1},  {40, 512, 1},
                                    {100000, 3, 1}, {3, 1, 100000}, {1, 1000, 1}, {9, 2, 20000}, {0, 3, 4}};
  for (const ChannelExtents& e : layouts) {
    SCOPED_TRACE(::testing::Message() << e.outer << " x " << e.channels << " x " << e.inner);
    const std::vector<float> x = test::ugly_floats(e.size(), 3, 1.0f, false);
    std::vector<float> abs(e.channels, 0), low(e.channels, INFINITY), high(e.channels, -INFINITY);
    std::vector<double> total(e.channels, 0), squares(e.channels, 0);
    const ChannelExtents rows = e.channels == 1 ? whole_tensor(e.size()) : e;
    for (std::size_t o = 0; o < rows.outer; ++o) {
      for (std::size_t c = 0; c < rows.channels; ++c) {
        const float* row = x.data() + (o * rows.channels + c) * rows.inner;
        for (std::size_t i = 0; i < rows.inner; ++i) {
          abs[c] = std::max(abs[c], std::fabs(row[i]));
          low[c] = std::min(low[c], row[i]);
          high[c] = std::max(high[c], row[i]);
        }
        total[c] += reference::sum(rows.inner, row);
        squares[c] += reference::sum_of_squares(rows.inner, row);
      }
    }
    for (const std::size_t threads : {1u, 2u, 4u}) {
      Context context(threads, isa());
      std::vector<float> result(e.channels), other(e.channels);
      std::vector<double> sums(e.channels);
      abs_max(context, x, e, result);
      expect_same_bits(abs.data(), result.data(), e.channels);
      if (!x.empty()) {
        min_max(context, x, e, result, other);
        EXPECT_EQ(result, low);
        EXPECT_EQ(other, high);
      }
      sum(context, x, e, sums);
      expect_same_bits(total.data(), sums.data(), e.channels);
      sum_of_squares(context, x, e, sums);
      expect_same_bits(squares.data(), sums.data(), e.channels);
    }
  }
}

TEST_P(Reduce, NanAndInfinitySurface) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  Context context(1, isa());
  for (const float bad : {nan, -nan}) {
    std::vector<float> x(100, 1.0f), low(1), high(1);
    x[37] = bad;
    abs_max(context, x, whole_tensor(100), low);
    EXPECT_TRUE(std::isnan(low[0]));
    min_max(context, x, whole_tensor(100), low, high);
    EXPECT_TRUE(std::isnan(low[0]) && std::isnan(high[0]));
  }
  std::vector<float> x(100, 1.0f), result(1);
  x[99] = -INFINITY;
  abs_max(context, x, whole_tensor(100), result);
  EXPECT_EQ(result[0], INFINITY);
}

TEST(Reduce, NothingHasNoMinimum) {
  Context context;
  std::vector<float> x, low(1), high(1);
  EXPECT_THROW(min_max(context, x, whole_tensor(0), low, high), InvalidArgument);
}

}  // namespace
}  // namespace qslim
