// SPDX-License-Identifier: Apache-2.0
#include "qslim/quant/statistics/exact_sum.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "test_data.h"

namespace qslim {
namespace {

TEST(ExactSum, SmallIntegersDivideExactly) {
  ExactSum sum;
  for (int i = 1; i <= 100; ++i) sum.add(static_cast<float>(i));
  EXPECT_EQ(sum.mean(100), 50.5);
  EXPECT_EQ(sum.mean(3), 5050.0 / 3.0);
}

TEST(ExactSum, KeepsWhatDoublesLose) {
  ExactSum sum;
  sum.add(std::numeric_limits<float>::max());
  sum.add(std::numeric_limits<float>::denorm_min());
  ExactSum large;
  large.add(std::numeric_limits<float>::max());
  EXPECT_FALSE(sum == large);
  EXPECT_EQ(sum.mean(1), static_cast<double>(std::numeric_limits<float>::max()));
}

TEST(ExactSum, SubnormalMeans) {
  ExactSum sum;
  sum.add(std::numeric_limits<float>::denorm_min());
  EXPECT_EQ(sum.mean(1), 0x1p-149);
  EXPECT_EQ(sum.mean(3), 0x1p-149 / 3.0);
  EXPECT_EQ(sum.mean(std::numeric_limits<std::uint64_t>::max()), 0x1p-149 / 0x1p64);
  EXPECT_EQ(ExactSum().mean(7), 0.0);
}

TEST(ExactSum, OneNumberOverAnyCountIsTheCorrectlyRoundedQuotient) {
  // A float and a count below 2^53 are doubles, and double division rounds once, ties to even, as mean()
  // must.
  std::mt19937_64 random(1);
  for (int i = 0; i < 20000; ++i) {
    const auto bits = static_cast<std::uint32_t>(random() % 0x7f800000u);
    float x;
    std::memcpy(&x, &bits, sizeof x);
    const std::uint64_t count = (random() >> (11 + random() % 50)) + 1;
    ExactSum sum;
    sum.add(x);
    ASSERT_EQ(sum.mean(count), static_cast<double>(x) / static_cast<double>(count)) << x << " / " << count;
  }
}

TEST(ExactSum, OrderAndGroupingDoNotMatter) {
  std::vector<float> values = test::ugly_floats(2000, 11, 1.0f, false);
  for (float& value : values) value = std::fabs(value);
  ExactSum forward, backward, first, second;
  for (const float value : values) forward.add(value);
  std::reverse(values.begin(), values.end());
  for (std::size_t i = 0; i < values.size(); ++i) {
    backward.add(values[i]);
    (i % 3 == 0 ? first : second).add(values[i]);
  }
  first.add(second);
  EXPECT_TRUE(forward == backward);
  EXPECT_TRUE(forward == first);
}

TEST(ExactSum, AddsItself) {
  ExactSum sum;
  sum.add(1.5f);
  sum.add(sum);
  EXPECT_EQ(sum.mean(1), 3.0);
}

}  // namespace
}  // namespace qslim
