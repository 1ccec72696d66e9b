// SPDX-License-Identifier: Apache-2.0
//
// Cumulative sums and reductions of integers.
#include <gtest/gtest.h>

#include <limits>

#include "runtime/ops/one_node.h"

namespace qslim::test {
namespace {

TEST(ReductionOperators, CumSumExclusiveAndReverse) {
  const Floats x = {1, 2, 3, 10, 20, 30};
  const auto sum = [&](int exclusive, int reverse) {
    return OneNode()
        .in(Dims{2, 3}, x)
        .constants({1})
        .run<float>("CumSum", {{"exclusive", exclusive}, {"reverse", reverse}});
  };
  EXPECT_EQ(sum(0, 0), (Floats{1, 3, 6, 10, 30, 60}));
  EXPECT_EQ(sum(1, 0), (Floats{0, 1, 3, 0, 10, 30}));
  EXPECT_EQ(sum(0, 1), (Floats{6, 5, 3, 60, 50, 30}));
  EXPECT_EQ(sum(1, 1), (Floats{5, 3, 0, 50, 30, 0}));
}

TEST(ReductionOperators, ReduceMaxAndReduceSumOfIntegers) {
  EXPECT_EQ(OneNode()
                .in(Dims{2, 3}, Wide{7, -7, 7, -7, 5, std::numeric_limits<std::int64_t>::min()})
                .run<std::int64_t>("ReduceMax", {{"axes", {0}}, {"keepdims", 0}}),
            (Wide{7, 5, 7}));
  EXPECT_EQ(OneNode().in(Dims{2, 3}, Wide{1, 2, 3, 4, 5, 6}).run<std::int64_t>("ReduceSum", {{"axes", {1}}}),
            (Wide{6, 15}));
}

}  // namespace
}  // namespace qslim::test
