// SPDX-License-Identifier: Apache-2.0
//
// Small networks against loops that compute the same: on every instruction set, with 1, 2 and 4 threads, one
// image at a time and eight at once.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "runtime/example_models.h"
#include "runtime/integer_conv.h"
#include "runtime/network.h"

namespace qslim::test {
namespace {

TEST(Session, ResidualAddition) {
  const auto w = some_bytes(4 * 4 * 9, 5);
  const auto scales = some_scales(4);
  const QParams out = {0.6f, 3, -128, 127};
  ModelBuilder builder;
  builder.input("x", Dims{-1, 4, -1, -1}, kSignedParams)
      .weights("w", {4, 4, 3, 3}, w, scales, 0)
      .tensor("y", Dims{-1, 4, -1, -1}, out)
      .node("Conv", {"x", "w"}, {"c"}, {{"pads", {1, 1, 1, 1}}})
      .node("Add", {"c", "x"}, {"s"})
      .node("Relu", {"s"}, {"y"})
      .output("y");
  expect_network(builder, kImages, [&](const Array& x) {
    Array y;
    const auto sums = integer_conv(x, kSignedParams, w, {4, 3, 1, 1}, y.dims);
    for (std::size_t i = 0; i < sums.size(); ++i) {
      const float product =
          static_cast<float>(sums[i]) * (kSignedParams.scale * scales[channel_of(i, y.dims)]);
      const float sum = product + real(quantized(x.values[i], kSignedParams), kSignedParams);
      y.values.push_back(real(quantized(std::max(sum, 0.0f), out), out));
    }
    return y;
  });
}

TEST(Session, SqueezeAndExcite) {
  const auto w1 = some_floats(8, 1.0f, 2), w2 = some_floats(8, 1.0f, 3);
  ModelBuilder builder;
  builder.input("x", Dims{-1, 4, -1, -1})
      .floats("w1", {2, 4, 1, 1}, w1)
      .floats("w2", {4, 2, 1, 1}, w2)
      .node("GlobalAveragePool", {"x"}, {"a"})
      .node("Conv", {"a", "w1"}, {"b"})
      .node("Relu", {"b"}, {"c"})
      .node("Conv", {"c", "w2"}, {"d"})
      .node("Sigmoid", {"d"}, {"e"})
      .node("Mul", {"x", "e"}, {"y"})
      .output("y");
  // |x| <= 6, weights <= 1: sums of at most 6 * 63 + 24 + 48 terms' roundings, and a gain of 6 behind them.
  const float tolerance = 6 * 512 * 6 * std::numeric_limits<float>::epsilon() / 2;
  expect_network(
      builder, kImages,
      [&](const Array& x) {
        Array y = x;
        const std::size_t pixels = static_cast<std::size_t>(x.dims[2] * x.dims[3]);
        for (std::size_t n = 0; n < static_cast<std::size_t>(x.dims[0]); ++n) {
          double mean[4] = {}, hidden[2] = {};
          for (std::size_t i = 0; i < 4 * pixels; ++i)
            mean[i / pixels] += double{x.values[n * 4 * pixels + i]} / static_cast<double>(pixels);
          for (std::size_t i = 0; i < 8; ++i) hidden[i / 4] += mean[i % 4] * double{w1[i]};
          for (std::size_t c = 0; c < 4; ++c) {
            double gate = 0;
            for (std::size_t i = 0; i < 2; ++i) gate += std::max(hidden[i], 0.0) * double{w2[c * 2 + i]};
            for (std::size_t p = 0; p < pixels; ++p) {
              float& value = y.values[(n * 4 + c) * pixels + p];
              value = static_cast<float>(double{value} / (1 + std::exp(-gate)));
            }
          }
        }
        return y;
      },
      tolerance);
}

TEST(Session, MoreThanEightBitsAreSimulated) {
  const QParams nine_bits = {0.01f, 0, -256, 255};
  for (const QParams& params : {kWideParams, nine_bits, QParams{0.02f, 5, -1, 254}}) {
    ModelBuilder builder;
    builder.input("x", Dims{-1, 4, -1, -1}, kSignedParams)
        .tensor("y", Dims{-1, 4, -1, -1}, params)
        .node("Neg", {"x"}, {"y"})
        .output("y");
    expect_network(builder, kImages, [&](const Array& x) {
      Array y = fake_quant(x, kSignedParams);
      for (float& value : y.values) value = -value;
      return fake_quant(y, params);
    });
  }
}

TEST(Session, ReshapeOfBytesToMoreThanEightBits) {
  ModelBuilder builder;
  builder.input("x", Dims{-1, 4, 6}, kSignedParams)
      .integers("to", {-1, 24})
      .tensor("y", Dims{-1, 24}, kWideParams)
      .node("Reshape", {"x", "to"}, {"y"})
      .output("y");
  expect_network(builder, {{1, 4, 6}, {8, 4, 6}}, [](const Array& x) {
    Array y = fake_quant(fake_quant(x, kSignedParams), kWideParams);
    y.dims = {x.dims[0], 24};
    return y;
  });
}

}  // namespace
}  // namespace qslim::test
