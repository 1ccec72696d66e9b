// SPDX-License-Identifier: Apache-2.0
//
// Operators that compute extents.
#include <gtest/gtest.h>

#include <vector>

#include "runtime/network.h"

namespace qslim::test {
namespace {

TEST(ShapeOperators, ShapeAndConstantOfShapeGiveExtents) {
  ModelBuilder builder;
  builder.input("x", Dims{-1, 4, -1, -1})
      .integers("rank", {1})
      .node("Shape", {"x"}, {"shape"})
      .node("ConstantOfShape", {"rank"}, {"one"}, {{"value", 1}})
      .node("Expand", {"x", "one"}, {"same"})
      .node("Reshape", {"same", "shape"}, {"y"})
      .output("y");
  expect_network(builder, kImages, [](const Array& x) { return x; });
}

TEST(ShapeOperators, ShapeGivesSomeOfTheExtents) {
  ModelBuilder builder;
  builder.input("x", Dims{-1, 4, -1, -1})
      .integers("rest", {-1})
      .node("Shape", {"x"}, {"front"}, {{"start", -9}, {"end", -2}})
      .node("Concat", {"front", "rest"}, {"shape"}, {{"axis", 0}})
      .node("Reshape", {"x", "shape"}, {"y"})
      .output("y");
  expect_network(builder, kImages, [](const Array& x) {
    Array y = x;
    y.dims = {x.dims[0], 4, x.dims[2] * x.dims[3]};
    return y;
  });
}

TEST(ShapeOperators, RangeGivesIndices) {
  ModelBuilder builder;
  builder.input("x", Dims{-1, 4, 5})
      .integers("start", {3})
      .integers("limit", {-1})
      .integers("delta", {-1})
      .node("Range", {"start", "limit", "delta"}, {"indices"})
      .node("Gather", {"x", "indices"}, {"y"}, {{"axis", 1}})
      .output("y");
  expect_network(builder, {{1, 4, 5}, {8, 4, 5}}, [](const Array& x) {
    Array y = x;
    for (std::size_t i = 0; i < y.values.size(); ++i) {
      y.values[i] = x.values[i / 20 * 20 + (3 - i / 5 % 4) * 5 + i % 5];
    }
    return y;
  });
}

}  // namespace
}  // namespace qslim::test
