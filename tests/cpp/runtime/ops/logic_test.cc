// SPDX-License-Identifier: Apache-2.0
//
// Comparisons, logic on masks and Where.
#include <gtest/gtest.h>

#include <limits>

#include "runtime/ops/one_node.h"

namespace qslim::test {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

TEST(LogicOperators, EqualGreaterAndLessBroadcastAndNanIsUnequal) {
  const Floats a = {1, 2, kNan, -0.0f, 5, 6}, b = {1, 3, 0};
  const auto compare = [&](const char* op) {
    return OneNode().in(Dims{2, 3}, a).in(Dims{3}, b).run<std::uint8_t>(op);
  };
  EXPECT_EQ(compare("Equal"), (Bytes{1, 0, 0, 0, 0, 0}));
  EXPECT_EQ(compare("Greater"), (Bytes{0, 0, 0, 0, 1, 1}));
  EXPECT_EQ(compare("GreaterOrEqual"), (Bytes{1, 0, 0, 0, 1, 1}));
  EXPECT_EQ(compare("Less"), (Bytes{0, 1, 0, 1, 0, 0}));
  EXPECT_EQ(compare("LessOrEqual"), (Bytes{1, 1, 0, 1, 0, 0}));
  const Wide i = {7, -2}, j = {7, 3};
  EXPECT_EQ(OneNode().in(Dims{2}, i).in(Dims{2}, j).run<std::uint8_t>("Less"), (Bytes{0, 1}));
}

TEST(LogicOperators, AndOrXorNotAndWhereTakeAnyByteButZeroForTrue) {
  const Bytes a = {0, 1, 0, 255}, b = {0, 0, 1, 2};
  const auto combine = [&](const char* op) {
    return OneNode().batched().in(Dims{4}, a).in(Dims{4}, b).run<std::uint8_t>(op);
  };
  EXPECT_EQ(combine("And"), (Bytes{0, 0, 0, 1}));
  EXPECT_EQ(combine("Or"), (Bytes{0, 1, 1, 1}));
  EXPECT_EQ(combine("Xor"), (Bytes{0, 1, 1, 0}));
  EXPECT_EQ(combine("Equal"), (Bytes{1, 0, 0, 1}));
  EXPECT_EQ(OneNode().in(Dims{4}, a).run<std::uint8_t>("Not"), (Bytes{1, 0, 1, 0}));
  const Floats x = {1, 2, 3, 4};
  EXPECT_EQ(OneNode().in(Dims{4}, a).in(Dims{4}, x).floats({}, {-1}).run<float>("Where"),
            (Floats{-1, 2, -1, 4}));
}

TEST(LogicOperators, TriluKeepsATriangleOfEveryMatrix) {
  const Floats x = {1, 2, 3, 4, 5, 6};
  const auto triangle = [&](std::int64_t k, std::int64_t upper) {
    return OneNode().in(Dims{2, 3}, x).constants({k}).run<float>("Trilu", {{"upper", upper}});
  };
  EXPECT_EQ(triangle(0, 1), (Floats{1, 2, 3, 0, 5, 6}));
  EXPECT_EQ(triangle(1, 1), (Floats{0, 2, 3, 0, 0, 6}));
  EXPECT_EQ(triangle(-5, 1), x);
  EXPECT_EQ(triangle(9, 1), Floats(6));
  EXPECT_EQ(triangle(0, 0), (Floats{1, 0, 0, 4, 5, 0}));
  EXPECT_EQ(triangle(-1, 0), (Floats{0, 0, 0, 4, 0, 0}));
  EXPECT_EQ(triangle(9, 0), x);
  const Wide whole = {1, 2, 3, 4};
  EXPECT_EQ(OneNode().in(Dims{1, 2, 2}, whole).run<std::int64_t>("Trilu"), (Wide{1, 2, 0, 4}));
}

}  // namespace
}  // namespace qslim::test
