// SPDX-License-Identifier: Apache-2.0
//
// Operators that move elements: concatenation, padding, pixels to channels and back, channel shuffle.
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "runtime/example_models.h"
#include "runtime/network.h"
#include "runtime/ops/one_node.h"

namespace qslim::test {
namespace {

TEST(MovementOperators, PadReflectEdgeAndWrap) {
  const Floats x = {1, 2, 3, 4, 5, 6};  // [2, 3]
  const auto pad = [&](const char* mode, const Wide& pads) {
    return OneNode().in(Dims{2, 3}, x).constants(pads).run<float>("Pad", {{"mode", mode}});
  };
  EXPECT_EQ(pad("reflect", {0, 2, 0, 1}), (Floats{3, 2, 1, 2, 3, 2, 6, 5, 4, 5, 6, 5}));
  EXPECT_EQ(pad("edge", {1, 0, 0, 1}), (Floats{1, 2, 3, 3, 1, 2, 3, 3, 4, 5, 6, 6}));
  EXPECT_EQ(pad("wrap", {0, 1, 0, 2}), (Floats{3, 1, 2, 3, 1, 2, 6, 4, 5, 6, 4, 5}));
  EXPECT_EQ(pad("reflect", {0, -1, 0, 1}), (Floats{2, 3, 2, 5, 6, 5}));
  EXPECT_EQ(pad("edge", {0, 0, 0, 0}), x);
  EXPECT_THROW(pad("reflect", {0, 3, 0, 0}), InvalidArgument);
  EXPECT_THROW(pad("wrap", {0, 4, 0, 0}), InvalidArgument);
  EXPECT_THROW(pad("mirror", {0, 0, 0, 0}), InvalidArgument);
}

TEST(MovementOperators, DepthToSpaceAndSpaceToDepth) {
  const Floats x = some_floats(2 * 12 * 2 * 3);
  const Dims dims = {2, 12, 2, 3};
  for (const bool columns_first : {false, true}) {
    const Floats y = OneNode().batched().in(dims, x).run<float>(
        "DepthToSpace", {{"blocksize", 2}, {"mode", columns_first ? "CRD" : "DCR"}});
    for (std::size_t i = 0; i < y.size(); ++i) {  // [2, 3, 4, 6]
      const std::size_t w = i % 6, h = i / 6 % 4, c = i / 24 % 3, n = i / 72;
      const std::size_t place = h % 2 * 2 + w % 2, channel = columns_first ? c * 4 + place : place * 3 + c;
      ASSERT_EQ(y[i], x[((n * 12 + channel) * 2 + h / 2) * 3 + w / 2]);
    }
    if (columns_first) continue;
    EXPECT_EQ(OneNode().in(Dims{2, 3, 4, 6}, y).run<float>("SpaceToDepth", {{"blocksize", 2}}), x);
  }
  EXPECT_THROW(OneNode().in(dims, x).run<float>("SpaceToDepth", {{"blocksize", 4}}), InvalidArgument);
}

TEST(MovementOperators, ConcatAndMaxPoolKeepBytes) {
  ModelBuilder builder;
  builder.input("x", Dims{-1, 4, -1, -1}, kSignedParams)
      .node("MaxPool", {"x"}, {"m"}, {{"kernel_shape", {3, 3}}, {"pads", {1, 1, 1, 1}}})
      .node("Concat", {"m", "x"}, {"y"}, {{"axis", 1}})
      .output("y");
  expect_network(builder, kImages, [](const Array& x) {
    const Array q = fake_quant(x, kSignedParams);
    const Dims& d = x.dims;
    Array y{{d[0], 8, d[2], d[3]}, {}};
    const auto at = [&](std::int64_t n, std::int64_t c, std::int64_t h, std::int64_t w) {
      return q.values[static_cast<std::size_t>(((n * d[1] + c) * d[2] + h) * d[3] + w)];
    };
    for (std::int64_t n = 0; n < d[0]; ++n) {
      for (std::int64_t c = 0; c < 8; ++c) {
        for (std::int64_t h = 0; h < d[2]; ++h) {
          for (std::int64_t w = 0; w < d[3]; ++w) {
            float value = at(n, c % 4, h, w);
            for (std::int64_t i = std::max<std::int64_t>(h - 1, 0); c < 4 && i < std::min(h + 2, d[2]); ++i) {
              for (std::int64_t j = std::max<std::int64_t>(w - 1, 0); j < std::min(w + 2, d[3]); ++j) {
                value = std::max(value, at(n, c, i, j));
              }
            }
            y.values.push_back(value);
          }
        }
      }
    }
    return y;
  });
}

TEST(MovementOperators, ReshapeTransposeReshapeIsAChannelShuffle) {
  ModelBuilder builder;  // a depthwise convolution by 1 first: it brings the channels last
  builder.input("x", Dims{-1, 6, 4, 5})
      .floats("w", {6, 1, 1, 1}, {1, 1, 1, 1, 1, 1})
      .integers("split", {0, 3, 2, 4, 5})
      .integers("join", {0, 6, 4, 5})
      .node("Conv", {"x", "w"}, {"c"}, {{"group", 6}})
      .node("Reshape", {"c", "split"}, {"s"})
      .node("Transpose", {"s"}, {"t"}, {{"perm", {0, 2, 1, 3, 4}}})
      .node("Reshape", {"t", "join"}, {"y"})
      .output("y");
  expect_network(builder, {{1, 6, 4, 5}, {8, 6, 4, 5}}, [](const Array& x) {
    Array y{x.dims, std::vector<float>(x.values.size())};
    for (std::size_t n = 0; n < static_cast<std::size_t>(x.dims[0]); ++n) {
      for (std::size_t g = 0; g < 3; ++g) {
        for (std::size_t i = 0; i < 2; ++i) {
          for (std::size_t p = 0; p < 20; ++p)
            y.values[(n * 6 + i * 3 + g) * 20 + p] = x.values[(n * 6 + g * 2 + i) * 20 + p];
        }
      }
    }
    return y;
  });
}

}  // namespace
}  // namespace qslim::test
