// SPDX-License-Identifier: Apache-2.0
//
// Pooling, resizing and GridSample.
#include <gtest/gtest.h>

#include <limits>
#include <vector>

#include "runtime/example_models.h"
#include "runtime/network.h"
#include "runtime/ops/one_node.h"

namespace qslim::test {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

TEST(WindowOperators, GridSamplePadding) {
  const Floats x = {1, 2, 3, 4};  // [1, 1, 2, 2]
  const Floats grid = {-1, -1, 1, 1, 0, 0, 1.5f, 0, kNan, 0};
  const auto sample = [&](const Json& attributes) {
    return OneNode().in(Dims{1, 1, 2, 2}, x).in(Dims{1, 1, 5, 2}, grid).run<float>("GridSample", attributes);
  };
  const Floats aligned = sample({{"align_corners", 1}, {"padding_mode", "border"}});
  EXPECT_EQ(Floats(aligned.begin(), aligned.begin() + 4), (Floats{1, 4, 2.5f, 3}));
  const Floats zeros = sample({{"align_corners", 1}});
  EXPECT_EQ(Floats(zeros.begin(), zeros.begin() + 4), (Floats{1, 4, 2.5f, 2.25f}));
  EXPECT_EQ(zeros[4], 0);
  // At -1 and 1 without aligned corners a quarter of the neighbourhood is inside.
  const Floats corners = sample(Json::object());
  EXPECT_EQ(Floats(corners.begin(), corners.begin() + 3), (Floats{0.25f, 1, 2.5f}));
  const Floats mirrored = sample({{"align_corners", 1}, {"padding_mode", "reflection"}});
  EXPECT_EQ(mirrored[3], 2.75f);
}

TEST(WindowOperators, ResizeCubicPassesThroughThePixels) {
  const Floats x = some_floats(1 * 2 * 4 * 5);
  // With aligned corners, 4 to 7 and 5 to 9, every second pixel is one of the input.
  const Floats y = OneNode()
                       .in(Dims{1, 2, 4, 5}, x)
                       .absent()
                       .absent()
                       .constants({7, 9})
                       .run<float>("Resize", {{"mode", "cubic"},
                                              {"coordinate_transformation_mode", "align_corners"},
                                              {"axes", {2, 3}}});
  for (std::size_t c = 0; c < 2; ++c) {
    for (std::size_t h = 0; h < 4; ++h) {
      for (std::size_t w = 0; w < 5; ++w)
        ASSERT_NEAR(y[(c * 7 + 2 * h) * 9 + 2 * w], x[(c * 4 + h) * 5 + w], 1e-6);
    }
  }
  // Half-way between: -3/32, 19/32, 19/32, -3/32 for a = -0.75.
  const float middle = (-3 * x[0] + 19 * x[1] + 19 * x[2] - 3 * x[3]) / 32;
  EXPECT_NEAR(y[3], middle, 1e-6);
}

TEST(WindowOperators, ResizeNearestKeepsBytes) {
  ModelBuilder builder;
  builder.input("x", Dims{-1, 4, -1, -1}, kSignedParams)
      .floats("scales", {4}, {1, 1, 2, 3})
      .node("Resize", {"x", "", "scales"}, {"y"},
            {{"coordinate_transformation_mode", "asymmetric"}, {"nearest_mode", "floor"}})
      .output("y");
  expect_network(builder, kImages, [](const Array& x) {
    const Array q = fake_quant(x, kSignedParams);
    const auto h = static_cast<std::size_t>(x.dims[2]), w = static_cast<std::size_t>(x.dims[3]);
    Array y{{x.dims[0], 4, x.dims[2] * 2, x.dims[3] * 3}, {}};
    for (std::size_t i = 0; i < count_of(y.dims); ++i) {
      const std::size_t column = i % (3 * w) / 3, row = i / (3 * w) % (2 * h) / 2;
      y.values.push_back(q.values[(i / (6 * h * w) * h + row) * w + column]);
    }
    return y;
  });
}

TEST(WindowOperators, GlobalAveragePoolOfBytes) {
  ModelBuilder builder;
  builder.input("x", Dims{-1, 4, -1, -1}, kUnsignedParams)
      .node("GlobalAveragePool", {"x"}, {"y"})
      .output("y");
  expect_network(builder, kImages, [](const Array& x) {
    const std::size_t pixels = static_cast<std::size_t>(x.dims[2] * x.dims[3]);
    Array y{{x.dims[0], 4, 1, 1}, {}};
    for (std::size_t i = 0; i < x.values.size(); i += pixels) {
      std::int64_t sum = 0;
      for (std::size_t p = 0; p < pixels; ++p)
        sum += quantized(x.values[i + p], kUnsignedParams) - kUnsignedParams.zero_point;
      y.values.push_back(static_cast<float>(sum) * (kUnsignedParams.scale / static_cast<float>(pixels)));
    }
    return y;
  });
}

}  // namespace
}  // namespace qslim::test
