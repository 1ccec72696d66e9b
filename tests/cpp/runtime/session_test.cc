// SPDX-License-Identifier: Apache-2.0
//
// Whole networks against loops that say what they compute: on every instruction set, with 1, 2 and 4 threads,
// one image at a time and eight at once.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "qslim/runtime/lowering/infer_context.h"
#include "runtime/example_models.h"
#include "runtime/session_run.h"
#include "test_data.h"

namespace qslim::test {
namespace {

// `reference` computes a batch; tolerance 0 asks for the same numbers.
void expect_network(const ModelBuilder& builder, const std::vector<Dims>& extents,
                    const std::function<Array(const Array&)>& reference, float tolerance = 0) {
  for (const Isa isa : available_isas()) {
    for (const std::size_t threads : {1, 2, 4}) {
      const Session session(builder.model(), Session::Options{threads, isa});
      for (const Dims& dims : extents) {
        SCOPED_TRACE(std::string(name_of(isa)) + ", " + std::to_string(threads) + " threads, " +
                     runtime::text_of(dims));
        const Array x{dims, some_floats(count_of(dims), 6.0f, static_cast<unsigned>(dims.back()))};
        const Array expected = reference(x), actual = run(session, x);
        ASSERT_EQ(actual.dims, expected.dims);
        for (std::size_t i = 0; i < expected.values.size(); ++i) {
          ASSERT_NEAR(actual.values[i], expected.values[i], tolerance) << "element " << i;
        }
        // Each image by itself gives the bytes that it has in the batch.
        const std::size_t each = x.values.size() / static_cast<std::size_t>(dims[0]);
        for (std::size_t n = 0; n < static_cast<std::size_t>(dims[0]); ++n) {
          Array image{dims,
                      {x.values.begin() + static_cast<std::ptrdiff_t>(n * each),
                       x.values.begin() + static_cast<std::ptrdiff_t>((n + 1) * each)}};
          image.dims[0] = 1;
          const Array alone = run(session, image);
          expect_same_bits(actual.values.data() + n * alone.values.size(), alone.values.data(),
                           alone.values.size());
        }
      }
    }
  }
}

const std::vector<Dims> kImages = {{1, 4, 9, 7}, {8, 4, 9, 7}, {2, 4, 5, 16}, {8, 4, 3, 3}, {1, 4, 1, 1}};

// ---- references ----

Array fake_quant(Array x, const QParams& p) {
  for (float& value : x.values) value = real(on_grid(value, p), p);
  return x;
}

struct ConvSpec {
  std::int64_t oc, kernel, stride = 1, pad = 0, groups = 1, dilation = 1;
};

// At (n, oc, oh, ow), the sum over the taps inside the image of product(x index, weight index).
template <class T>
std::vector<T> convolve(const Dims& x, const ConvSpec& c, Dims& y,
                        const std::function<T(std::size_t, std::size_t)>& product) {
  const std::int64_t span = (c.kernel - 1) * c.dilation + 1, in_group = x[1] / c.groups,
                     out_group = c.oc / c.groups;
  y = {x[0], c.oc, (x[2] + 2 * c.pad - span) / c.stride + 1, (x[3] + 2 * c.pad - span) / c.stride + 1};
  std::vector<T> sums;
  for (std::int64_t n = 0; n < y[0]; ++n) {
    for (std::int64_t o = 0; o < y[1]; ++o) {
      for (std::int64_t oh = 0; oh < y[2]; ++oh) {
        for (std::int64_t ow = 0; ow < y[3]; ++ow) {
          T sum{};
          for (std::int64_t i = 0; i < in_group; ++i) {
            for (std::int64_t kh = 0; kh < c.kernel; ++kh) {
              for (std::int64_t kw = 0; kw < c.kernel; ++kw) {
                const std::int64_t h = oh * c.stride - c.pad + kh * c.dilation,
                                   w = ow * c.stride - c.pad + kw * c.dilation;
                if (h < 0 || h >= x[2] || w < 0 || w >= x[3]) continue;
                const std::int64_t channel = o / out_group * in_group + i;
                sum +=
                    product(static_cast<std::size_t>(((n * x[1] + channel) * x[2] + h) * x[3] + w),
                            static_cast<std::size_t>(((o * in_group + i) * c.kernel + kh) * c.kernel + kw));
              }
            }
          }
          sums.push_back(sum);
        }
      }
    }
  }
  return sums;
}

// Integer sums of a convolution of x, rounded to its grid.
std::vector<std::int64_t> integer_conv(const Array& x, const QParams& p, const std::vector<std::int8_t>& w,
                                       const ConvSpec& c, Dims& y) {
  return convolve<std::int64_t>(x.dims, c, y, [&](std::size_t i, std::size_t k) {
    return std::int64_t{on_grid(x.values[i], p) - p.zero_point} * w[k];
  });
}

std::size_t channel_of(std::size_t i, const Dims& dims) {
  return i / static_cast<std::size_t>(dims[2] * dims[3]) % static_cast<std::size_t>(dims[1]);
}

// ---- networks ----

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

TEST(Session, Int8Convolutions) {
  const QParams coarse = {0.7f, 0, -128, 127}, shifted = {0.5f, 100, 0, 255}, narrow = {1.5f, 0, -7, 7};
  expect_int8_conv({{6, 3, 2, 1}, kSignedGrid, coarse, true});
  expect_int8_conv({{7, 3, 1, 1}, kUnsignedGrid, shifted, false});
  expect_int8_conv({{17, 1}, kSignedGrid, shifted, true});
  expect_int8_conv({{4, 3, 1, 1, 4}, kUnsignedGrid, coarse, true});
  expect_int8_conv({{4, 5, 2, 2, 4}, kSignedGrid, narrow, false});
  expect_int8_conv({{6, 3, 1, 2, 2, 2}, kUnsignedGrid, shifted, true});
}

TEST(Session, ResidualAddition) {
  const auto w = some_bytes(4 * 4 * 9, 5);
  const auto scales = some_scales(4);
  const QParams out = {0.6f, 3, -128, 127};
  ModelBuilder builder;
  builder.input("x", Dims{-1, 4, -1, -1}, kSignedGrid)
      .weights("w", {4, 4, 3, 3}, w, scales, 0)
      .tensor("y", Dims{-1, 4, -1, -1}, out)
      .node("Conv", {"x", "w"}, {"c"}, {{"pads", {1, 1, 1, 1}}})
      .node("Add", {"c", "x"}, {"s"})
      .node("Relu", {"s"}, {"y"})
      .output("y");
  expect_network(builder, kImages, [&](const Array& x) {
    Array y;
    const auto sums = integer_conv(x, kSignedGrid, w, {4, 3, 1, 1}, y.dims);
    for (std::size_t i = 0; i < sums.size(); ++i) {
      const float product = static_cast<float>(sums[i]) * (kSignedGrid.scale * scales[channel_of(i, y.dims)]);
      const float sum = product + real(on_grid(x.values[i], kSignedGrid), kSignedGrid);
      y.values.push_back(real(on_grid(std::max(sum, 0.0f), out), out));
    }
    return y;
  });
}

TEST(Session, ConcatenationAndMaximaMoveBytes) {
  ModelBuilder builder;
  builder.input("x", Dims{-1, 4, -1, -1}, kSignedGrid)
      .node("MaxPool", {"x"}, {"m"}, {{"kernel_shape", {3, 3}}, {"pads", {1, 1, 1, 1}}})
      .node("Concat", {"m", "x"}, {"y"}, {{"axis", 1}})
      .output("y");
  expect_network(builder, kImages, [](const Array& x) {
    const Array q = fake_quant(x, kSignedGrid);
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

TEST(Session, ChannelShuffle) {
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

TEST(Session, AveragePoolingOfBytes) {
  ModelBuilder builder;
  builder.input("x", Dims{-1, 4, -1, -1}, kUnsignedGrid).node("GlobalAveragePool", {"x"}, {"y"}).output("y");
  expect_network(builder, kImages, [](const Array& x) {
    const std::size_t pixels = static_cast<std::size_t>(x.dims[2] * x.dims[3]);
    Array y{{x.dims[0], 4, 1, 1}, {}};
    for (std::size_t i = 0; i < x.values.size(); i += pixels) {
      std::int64_t sum = 0;
      for (std::size_t p = 0; p < pixels; ++p)
        sum += on_grid(x.values[i + p], kUnsignedGrid) - kUnsignedGrid.zero_point;
      y.values.push_back(static_cast<float>(sum) * (kUnsignedGrid.scale / static_cast<float>(pixels)));
    }
    return y;
  });
}

TEST(Session, MatrixProductInFloat) {
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

TEST(Session, Softmax) {
  ModelBuilder builder;
  builder.input("x", Dims{-1, 6, 5}).node("Softmax", {"x"}, {"y"}, {{"axis", 1}}).output("y");
  // Probabilities of at most 1 from float exponentials: a few units in the last place of 1.
  expect_network(
      builder, {{1, 6, 5}, {8, 6, 5}},
      [](const Array& x) {
        Array y = x;
        for (std::size_t i = 0; i < x.values.size(); ++i) {
          double sum = 0;
          for (std::size_t k = 0; k < 6; ++k) sum += std::exp(double{x.values[i / 30 * 30 + k * 5 + i % 5]});
          y.values[i] = static_cast<float>(std::exp(double{x.values[i]}) / sum);
        }
        return y;
      },
      8 * std::numeric_limits<float>::epsilon());
}

TEST(Session, ResizeOfBytes) {
  ModelBuilder builder;
  builder.input("x", Dims{-1, 4, -1, -1}, kSignedGrid)
      .floats("scales", {4}, {1, 1, 2, 3})
      .node("Resize", {"x", "", "scales"}, {"y"},
            {{"coordinate_transformation_mode", "asymmetric"}, {"nearest_mode", "floor"}})
      .output("y");
  expect_network(builder, kImages, [](const Array& x) {
    const Array q = fake_quant(x, kSignedGrid);
    const auto h = static_cast<std::size_t>(x.dims[2]), w = static_cast<std::size_t>(x.dims[3]);
    Array y{{x.dims[0], 4, x.dims[2] * 2, x.dims[3] * 3}, {}};
    for (std::size_t i = 0; i < count_of(y.dims); ++i) {
      const std::size_t column = i % (3 * w) / 3, row = i / (3 * w) % (2 * h) / 2;
      y.values.push_back(q.values[(i / (6 * h * w) * h + row) * w + column]);
    }
    return y;
  });
}

struct TransposedCase {
  std::int64_t stride, dilation, pad, extra;
};

class TransposedConvolution : public ::testing::TestWithParam<TransposedCase> {};

// Strides beyond the kernel and dilations that share a factor with the stride leave outputs without a tap.
INSTANTIATE_TEST_SUITE_P(Session, TransposedConvolution,
                         ::testing::Values(TransposedCase{2, 1, 1, 1}, TransposedCase{1, 2, 1, 0},
                                           TransposedCase{2, 2, 1, 0}, TransposedCase{3, 2, 2, 2},
                                           TransposedCase{4, 2, 0, 1}, TransposedCase{5, 1, 0, 4},
                                           TransposedCase{2, 3, 2, 0}, TransposedCase{4, 6, 3, 0}));

TEST_P(TransposedConvolution, EqualsItsDefinition) {
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

TEST(Session, WideGridsAreSimulated) {
  const QParams nine_bits = {0.01f, 0, -256, 255};
  for (const QParams& grid : {kWideGrid, nine_bits, QParams{0.02f, 5, -1, 254}}) {
    ModelBuilder builder;
    builder.input("x", Dims{-1, 4, -1, -1}, kSignedGrid)
        .tensor("y", Dims{-1, 4, -1, -1}, grid)
        .node("Neg", {"x"}, {"y"})
        .output("y");
    expect_network(builder, kImages, [&](const Array& x) {
      Array y = fake_quant(x, kSignedGrid);
      for (float& value : y.values) value = -value;
      return fake_quant(y, grid);
    });
  }
}

TEST(Session, ReshapeOfBytesToAWideGrid) {
  ModelBuilder builder;
  builder.input("x", Dims{-1, 4, 6}, kSignedGrid)
      .integers("to", {-1, 24})
      .tensor("y", Dims{-1, 24}, kWideGrid)
      .node("Reshape", {"x", "to"}, {"y"})
      .output("y");
  expect_network(builder, {{1, 4, 6}, {8, 4, 6}}, [](const Array& x) {
    Array y = fake_quant(fake_quant(x, kSignedGrid), kWideGrid);
    y.dims = {x.dims[0], 24};
    return y;
  });
}

}  // namespace
}  // namespace qslim::test
