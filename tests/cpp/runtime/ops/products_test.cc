// SPDX-License-Identifier: Apache-2.0
//
// Convolutions and matrix products.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "runtime/example_models.h"
#include "runtime/integer_conv.h"
#include "runtime/network.h"

namespace qslim::test {
namespace {

struct ConvCase {
  ConvSpec spec;
  QParams in, out;
  bool has_relu;
};

void expect_int8_conv(const ConvCase& c) {
  const std::int64_t ic = 4;
  const auto w =
      some_bytes(static_cast<std::size_t>(c.spec.oc * ic / c.spec.groups * c.spec.kernel * c.spec.kernel), 3);
  const auto scales = some_scales(static_cast<std::size_t>(c.spec.oc));
  const auto bias = some_floats(static_cast<std::size_t>(c.spec.oc), 2.0f, 9);
  ModelBuilder builder;
  builder.input("x", Dims{-1, ic, -1, -1}, c.in)
      .weights("w", {c.spec.oc, ic / c.spec.groups, c.spec.kernel, c.spec.kernel}, w, scales, 0)
      .floats("b", {c.spec.oc}, bias)
      .tensor("y", Dims{-1, c.spec.oc, -1, -1}, c.out)
      .node("Conv", {"x", "w", "b"}, {c.has_relu ? "c" : "y"},
            {{"pads", std::vector<std::int64_t>(4, c.spec.pad)},
             {"strides", {c.spec.stride, c.spec.stride}},
             {"dilations", {c.spec.dilation, c.spec.dilation}},
             {"group", c.spec.groups}});
  if (c.has_relu) builder.node("Relu", {"c"}, {"y"});
  builder.output("y");
  std::vector<Dims> extents;
  for (const Dims& dims : kImages) {
    if (dims[2] + 2 * c.spec.pad > (c.spec.kernel - 1) * c.spec.dilation &&
        dims[3] + 2 * c.spec.pad > (c.spec.kernel - 1) * c.spec.dilation) {
      extents.push_back(dims);
    }
  }
  expect_network(builder, extents, [&](const Array& x) {
    Array y;
    const auto sums = integer_conv(x, c.in, w, c.spec, y.dims);
    for (std::size_t i = 0; i < sums.size(); ++i) {
      const std::size_t oc = channel_of(i, y.dims);
      const float product = c.in.scale * scales[oc];
      const std::int64_t acc = sums[i] + static_cast<std::int64_t>(std::nearbyint(bias[oc] / product));
      float q = std::nearbyint(static_cast<float>(acc) * (product / c.out.scale)) +
                static_cast<float>(c.out.zero_point);
      const auto lo = static_cast<float>(c.has_relu ? std::max(c.out.qmin, c.out.zero_point) : c.out.qmin);
      q = std::min(std::max(q, lo), static_cast<float>(c.out.qmax));
      y.values.push_back(real(static_cast<std::int32_t>(q), c.out));
    }
    return y;
  });
}

TEST(ProductOperators, ConvInInt8) {
  const QParams coarse = {0.7f, 0, -128, 127}, shifted = {0.5f, 100, 0, 255}, narrow = {1.5f, 0, -7, 7};
  expect_int8_conv({{6, 3, 2, 1}, kSignedParams, coarse, true});
  expect_int8_conv({{7, 3, 1, 1}, kUnsignedParams, shifted, false});
  expect_int8_conv({{17, 1}, kSignedParams, shifted, true});
  expect_int8_conv({{4, 3, 1, 1, 4}, kUnsignedParams, coarse, true});
  expect_int8_conv({{4, 5, 2, 2, 4}, kSignedParams, narrow, false});
  expect_int8_conv({{6, 3, 1, 2, 2, 2}, kUnsignedParams, shifted, true});
}

TEST(ProductOperators, MatMulInFloat) {
  const auto w = some_floats(5 * 3, 1.0f, 4), bias = some_floats(3, 1.0f, 8);
  ModelBuilder builder;
  builder.input("x", Dims{-1, 6, 5})
      .floats("w", {5, 3}, w)
      .floats("b", {3}, bias)
      .node("MatMul", {"x", "w"}, {"m"})
      .node("Add", {"m", "b"}, {"s"})
      .node("Relu", {"s"}, {"y"})
      .output("y");
  expect_network(builder, {{1, 6, 5}, {8, 6, 5}}, [&](const Array& x) {
    Array y{{x.dims[0], 6, 3}, {}};
    for (std::size_t row = 0; row < x.values.size() / 5; ++row) {
      for (std::size_t n = 0; n < 3; ++n) {
        float sum = 0;  // one chain of fused multiply-adds, as conv_f32.h promises
        for (std::size_t k = 0; k < 5; ++k) sum = std::fma(x.values[row * 5 + k], w[k * 3 + n], sum);
        y.values.push_back(std::max(sum + bias[n], 0.0f));
      }
    }
    return y;
  });
}

// 7 columns of K = 70: groups of 32, 32 and 6.
TEST(ProductOperators, MatMulOfFloatsWithPackedIntegers) {
  constexpr std::size_t kK = 70, kN = 7, kGroup = 32;
  std::vector<std::int8_t> w = some_bytes(kK * kN, 4);
  for (std::int8_t& q : w) q = static_cast<std::int8_t>(q / 16);
  const auto scales = some_scales(3 * kN), bias = some_floats(kN, 1.0f, 8);
  for (const bool is_transposed : {false, true}) {
    ModelBuilder builder;
    builder.input("x", Dims{-1, kK}).floats("b", {kN}, bias);
    if (is_transposed) {
      std::vector<std::int8_t> turned(w.size());
      std::vector<float> turned_scales(scales.size());
      for (std::size_t i = 0; i < w.size(); ++i) turned[i % kN * kK + i / kN] = w[i];
      for (std::size_t i = 0; i < scales.size(); ++i) turned_scales[i % kN * 3 + i / kN] = scales[i];
      builder.packed_weights("w", {kN, kK}, turned, {kN, 3}, turned_scales, 0, kGroup)
          .node("Gemm", {"x", "w", "b"}, {"s"}, {{"transB", 1}});
    } else {
      builder.packed_weights("w", {kK, kN}, w, {3, kN}, scales, 1, kGroup)
          .node("MatMul", {"x", "w"}, {"m"})
          .node("Add", {"m", "b"}, {"s"});
    }
    builder.node("Relu", {"s"}, {"r"}).output("r");
    expect_network(builder, {{1, kK}, {9, kK}}, [&](const Array& x) {
      Array y{{x.dims[0], kN}, {}};
      for (std::size_t row = 0; row < x.values.size() / kK; ++row) {
        for (std::size_t n = 0; n < kN; ++n) {
          float sum = 0;
          for (std::size_t k = 0; k < kK; ++k) {
            const float real = static_cast<float>(w[k * kN + n]) * scales[k / kGroup * kN + n];
            sum = std::fma(x.values[row * kK + k], real, sum);
          }
          y.values.push_back(std::max(sum + bias[n], 0.0f));
        }
      }
      return y;
    });
  }
}

struct TransposedCase {
  std::int64_t stride, dilation, pad, extra;
};

class ConvTranspose : public ::testing::TestWithParam<TransposedCase> {};

std::string name_of_case(const testing::TestParamInfo<TransposedCase>& info) {
  const auto [stride, dilation, pad, extra] = info.param;
  return "stride" + std::to_string(stride) + "_dilation" + std::to_string(dilation) + "_pad" +
         std::to_string(pad) + "_extra" + std::to_string(extra);
}

// Strides beyond the kernel and dilations that share a factor with the stride leave outputs without a tap.
INSTANTIATE_TEST_SUITE_P(ProductOperators, ConvTranspose,
                         ::testing::Values(TransposedCase{2, 1, 1, 1}, TransposedCase{1, 2, 1, 0},
                                           TransposedCase{2, 2, 1, 0}, TransposedCase{3, 2, 2, 2},
                                           TransposedCase{4, 2, 0, 1}, TransposedCase{5, 1, 0, 4},
                                           TransposedCase{2, 3, 2, 0}, TransposedCase{4, 6, 3, 0}),
                         name_of_case);

TEST_P(ConvTranspose, EqualsItsDefinition) {
  const auto [stride, dilation, pad, extra] = GetParam();
  // Small integers, so that every order of addition gives the same float.
  std::vector<float> w;
  for (const std::int8_t value : some_bytes(4 * 3 * 9, 2)) w.push_back(static_cast<float>(value % 8));
  ModelBuilder builder;
  builder.input("x", Dims{-1, 4, -1, -1}, QParams{1, 0, -128, 127})
      .floats("w", {4, 3, 3, 3}, w)
      .node("ConvTranspose", {"x", "w"}, {"y"},
            {{"strides", {stride, stride}},
             {"dilations", {dilation, dilation}},
             {"pads", {pad, pad, pad, pad}},
             {"output_padding", {extra, extra}}})
      .output("y");
  expect_network(
      builder, kImages,
      [&, stride = stride, dilation = dilation, pad = pad, extra = extra](const Array& raw) {
        const Array x = fake_quant(raw, QParams{1, 0, -128, 127});
        const Dims& d = x.dims;
        const auto out = [&](std::int64_t in) {
          return (in - 1) * stride + 2 * dilation + 1 - 2 * pad + extra;
        };
        Array y{{d[0], 3, out(d[2]), out(d[3])}, {}};
        y.values.assign(count_of(y.dims), 0.0f);
        for (std::int64_t i = 0; i < static_cast<std::int64_t>(x.values.size()); ++i) {
          const std::int64_t iw = i % d[3], ih = i / d[3] % d[2], ic = i / (d[3] * d[2]) % d[1],
                             n = i / (d[3] * d[2] * d[1]);
          for (std::int64_t oc = 0; oc < 3; ++oc) {
            for (std::int64_t kh = 0; kh < 3; ++kh) {
              for (std::int64_t kw = 0; kw < 3; ++kw) {
                const std::int64_t oh = stride * ih - pad + kh * dilation;
                const std::int64_t ow = stride * iw - pad + kw * dilation;
                if (oh < 0 || oh >= y.dims[2] || ow < 0 || ow >= y.dims[3]) continue;
                y.values[static_cast<std::size_t>(((n * 3 + oc) * y.dims[2] + oh) * y.dims[3] + ow)] +=
                    x.values[static_cast<std::size_t>(i)] *
                    w[static_cast<std::size_t>(((ic * 3 + oc) * 3 + kh) * 3 + kw)];
              }
            }
          }
        }
        return y;
      });
}

}  // namespace
}  // namespace qslim::test
