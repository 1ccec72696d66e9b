// SPDX-License-Identifier: Apache-2.0
//
// Elementwise operators on integers and casts.
#include <gtest/gtest.h>

#include <limits>

#include "runtime/ops/one_node.h"

namespace qslim::test {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

TEST(ElementwiseOperators, CastSaturates) {
  const Floats x = {1.9f, -1.9f, kNan, 1e20f, -1e20f};
  EXPECT_EQ(OneNode().in(Dims{5}, x).run<std::int32_t>("Cast", {{"to", 6}}),
            (Narrow{1, -1, 0, 2147483647, -2147483647 - 1}));
  EXPECT_EQ(OneNode().in(Dims{5}, x).run<std::uint8_t>("Cast", {{"to", 9}}), (Bytes{1, 1, 1, 1, 1}));
  const Wide wide = {-3, 4};
  EXPECT_EQ(OneNode().in(Dims{2}, wide).run<float>("Cast", {{"to", 1}}), (Floats{-3, 4}));
  const Bytes mask = {0, 7};
  EXPECT_EQ(OneNode().in(Dims{2}, mask).run<float>("Cast", {{"to", 1}}), (Floats{0, 1}));
}

TEST(ElementwiseOperators, DivModAndMaxOfIntegersAreThoseOfOnnx) {
  const Wide a = {7, -7, 7, -7, 5, std::numeric_limits<std::int64_t>::min()}, b = {2, 2, -2, -2, 0, -1};
  const auto compute = [&](const char* op) {
    return OneNode().in(Dims{6}, a).in(Dims{6}, b).run<std::int64_t>(op);
  };
  EXPECT_EQ(compute("Div"), (Wide{3, -3, -3, 3, 0, a[5]}));
  EXPECT_EQ(compute("Mod"), (Wide{1, 1, -1, -1, 0, 0}));
  EXPECT_EQ(compute("Max"), (Wide{7, 2, 7, -2, 5, -1}));
}

}  // namespace
}  // namespace qslim::test
