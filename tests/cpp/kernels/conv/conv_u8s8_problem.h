// SPDX-License-Identifier: Apache-2.0
//
// A random int8 convolution with its reference results, and checks of one kernel's results against them.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <vector>

#include "kernels/conv/random_conv.h"
#include "qslim/core/error.h"
#include "qslim/kernels/conv/conv_u8s8.h"
#include "qslim/reference/conv.h"
#include "test_data.h"

namespace qslim::test::conv_u8s8 {

constexpr unsigned char kCanary = 0xa5;

enum class Values { kRandom, kLargest, kAlternating };

struct Problem {
  ConvCase shape;
  TightArray<std::uint8_t> x;
  std::vector<std::int8_t> weights;
  std::vector<float> multiplier;
  std::vector<float> bias;  // maybe empty
  std::uint8_t x_zero_point = 0;
  std::vector<std::int32_t> acc;  // expected

  Problem(const ConvCase& shape_, Values values, std::mt19937& random)
      : shape(shape_), x(shape_.x_size()), weights(shape_.weights()) {
    const std::uint8_t zero_points[] = {0, 1, 127, 128, 255};
    x_zero_point = zero_points[random() % 5];
    const int largest[] = {-128, -127, 127};
    const int constant = largest[random() % 3];
    for (std::size_t i = 0; i < x.size(); ++i) {
      x.data()[i] = static_cast<std::uint8_t>(values == Values::kRandom         ? random()
                                              : values == Values::kLargest      ? 255
                                              : (i + random() % 8 / 7) % 2 != 0 ? 255
                                                                                : 0);
    }
    for (std::size_t i = 0; i < weights.size(); ++i) {
      weights[i] = static_cast<std::int8_t>(values == Values::kRandom ? static_cast<int>(random() % 256) - 128
                                            : values == Values::kLargest ? constant
                                            : i % 2 != 0                 ? 127
                                                                         : -128);
    }
    const std::size_t channels = shape.geometry.output_channels;
    // Magnitudes that put most results inside of the range, ties (powers of two), and ones that leave it; in
    // some problems far enough to leave int32.
    const bool is_huge = random() % 4 == 0;
    for (std::size_t i = 0; i < channels; ++i) {
      const float scale = 1.0f / static_cast<float>(64 * (1 + weights.size() / channels));
      switch (random() % 8) {
        case 0: multiplier.push_back(std::ldexp(1.0f, -static_cast<int>(random() % 24))); break;
        case 1: multiplier.push_back(is_huge ? 1e4f : 1e3f * scale); break;
        case 2:
          multiplier.push_back(is_huge && random() % 2 != 0 ? std::numeric_limits<float>::max() : 0.0f);
          break;
        case 3: multiplier.push_back(-scale); break;
        default: multiplier.push_back(scale * (0.5f + static_cast<float>(random() % 1000) / 500));
      }
    }
    if (random() % 4 != 0) {
      for (std::size_t i = 0; i < channels; ++i) {
        const float value = static_cast<float>(static_cast<std::int32_t>(random())) * 0x1p-31f;
        const float magnitudes[] = {0.0f, 1.0f, 300.0f, 1e8f, std::numeric_limits<float>::max()};
        bias.push_back(value * magnitudes[random() % (is_huge ? 5 : 4)]);
      }
    }
    acc.resize(shape.pixels() * channels);
    reference::conv_u8s8(shape.geometry, shape.extents, x.data(), x_zero_point, weights.data(), acc.data());
  }

  ConvU8S8 pack(Isa isa) const { return {isa, shape.geometry, weights, x_zero_point, multiplier, bias}; }

  // Of output i of the dense result.
  float real(std::size_t i) const {
    const std::size_t c = i % shape.geometry.output_channels;
    return reference::rescale(acc[i], multiplier[c], bias.empty() ? 0.0f : bias[c]);
  }

  AlignedBuffer<std::byte> scratch(const ConvU8S8& conv, std::size_t threads) const {
    return AlignedBuffer<std::byte>(conv.scratch_bytes(shape.extents, threads));
  }

  std::vector<std::uint8_t> expected(const RequantizedOutput& output) const {
    std::vector<std::uint8_t> y(shape.y_size(), kCanary);
    const std::size_t channels = shape.geometry.output_channels;
    for (std::size_t i = 0; i < acc.size(); ++i) {
      y[shape.y_index(i / channels) + i % channels] =
          reference::requantize(real(i), output.inverse_scale, output.zero_point, output.lo, output.hi);
    }
    return y;
  }

  std::vector<float> expected_real(float canary) const {
    std::vector<float> y(shape.y_size(), canary);
    const std::size_t channels = shape.geometry.output_channels;
    for (std::size_t i = 0; i < acc.size(); ++i) {
      y[shape.y_index(i / channels) + i % channels] = real(i);
    }
    return y;
  }
};

inline const RequantizedOutput kOutputs[] = {
    {1, 0, 0, 255, nullptr},     {0.37f, 128, 1, 255, nullptr}, {113.7f, 255, 0, 200, nullptr},
    {1, 128, 128, 230, nullptr}, {0x1p-126f, 3, 3, 3, nullptr}, {0x1p126f, 77, 100, 255, nullptr}};

inline void check_requantized(Problem& problem, const ConvU8S8& conv, Context& context,
                              RequantizedOutput output) {
  const std::vector<std::uint8_t> expected = problem.expected(output);
  std::vector<std::uint8_t> y(expected.size(), kCanary);
  output.y = y.data();
  const auto scratch = problem.scratch(conv, context.pool().num_threads());
  conv.run(context, problem.shape.extents, problem.x.data(), output, scratch.data());
  expect_same_bits(expected.data(), y.data(), y.size());
}

// With residual values in the places of the results, where the kernel takes them.
inline void check_sum(Problem& problem, const ConvU8S8& conv, Context& context, RequantizedOutput output,
                      std::mt19937& random) {
  const float scales[] = {0x1p-4f, 0.37f, 3.1f, -0.5f, 0x1p100f};
  output.residual_scale = scales[random() % std::size(scales)];
  output.residual_zero_point = static_cast<std::uint8_t>(random() % 3 == 0 ? 0 : random());
  // Nothing behind the last value may be read.
  const std::size_t size =
      problem.shape.y_index(problem.shape.pixels() - 1) + conv.geometry().output_channels;
  const std::unique_ptr<std::uint8_t[]> residual(new std::uint8_t[size]);
  for (std::size_t i = 0; i < size; ++i) residual[i] = static_cast<std::uint8_t>(random());
  output.residual = residual.get();

  std::vector<std::uint8_t> expected(problem.shape.y_size(), kCanary), y = expected;
  const std::size_t channels = conv.geometry().output_channels;
  for (std::size_t i = 0; i < problem.acc.size(); ++i) {
    const std::size_t at = problem.shape.y_index(i / channels) + i % channels;
    const float added = static_cast<float>(residual[at] - output.residual_zero_point) * output.residual_scale;
    const float sum = problem.real(i) + added;
    expected[at] = reference::requantize(sum, output.inverse_scale, output.zero_point, output.lo, output.hi);
  }
  output.y = y.data();
  const auto scratch = problem.scratch(conv, context.pool().num_threads());
  const auto run = [&] {
    conv.run(context, problem.shape.extents, problem.x.data(), output, scratch.data());
  };
  if (conv.adds_residuals(output.inverse_scale, output.residual_scale)) {
    run();
    expect_same_bits(expected.data(), y.data(), y.size());
  } else {
    EXPECT_THROW(run(), InvalidArgument);
  }
}

// With HardSwish between the results and their rounding.
inline void check_hard_swish(Problem& problem, const ConvU8S8& conv, Context& context,
                             RequantizedOutput output) {
  output.has_hard_swish = true;
  std::vector<std::uint8_t> expected(problem.shape.y_size(), kCanary), y = expected;
  const std::size_t channels = conv.geometry().output_channels;
  for (std::size_t i = 0; i < problem.acc.size(); ++i) {
    const float x = problem.real(i), gate = std::min(std::max(x + 3.0f, 0.0f), 6.0f);
    expected[problem.shape.y_index(i / channels) + i % channels] =
        reference::requantize(x * gate / 6.0f, output.inverse_scale, output.zero_point, output.lo, output.hi);
  }
  output.y = y.data();
  const auto scratch = problem.scratch(conv, context.pool().num_threads());
  const auto run = [&] {
    conv.run(context, problem.shape.extents, problem.x.data(), output, scratch.data());
  };
  if (conv.applies_hard_swish(output.inverse_scale)) {
    run();
    expect_same_bits(expected.data(), y.data(), y.size());
  } else {
    EXPECT_THROW(run(), InvalidArgument);
  }
}

inline void check_real(Problem& problem, const ConvU8S8& conv, Context& context) {
  constexpr float kUntouched = -12345.0f;
  const std::vector<float> expected = problem.expected_real(kUntouched);
  std::vector<float> y(expected.size(), kUntouched);
  const auto scratch = problem.scratch(conv, context.pool().num_threads());
  conv.run(context, problem.shape.extents, problem.x.data(), RealOutput{y.data(), {}}, scratch.data());
  expect_same_bits(expected.data(), y.data(), y.size());
}

// Takes each pixel once into a dense array.
struct Collector {
  std::size_t channels;
  std::vector<float> y;
  std::vector<std::atomic<int>> taken;
  Collector(std::size_t pixels, std::size_t channels_)
      : channels(channels_), y(pixels * channels_), taken(pixels) {}
  PixelSink sink() {
    return {this, [](const void* self, std::size_t first, std::size_t pixels, const float* rows) {
              auto* c = static_cast<Collector*>(const_cast<void*>(self));
              for (std::size_t i = 0; i < pixels; ++i) ++c->taken[first + i];
              std::memcpy(c->y.data() + first * c->channels, rows, pixels * c->channels * sizeof(float));
            }};
  }
};

inline void check_sink(Problem& problem, const ConvU8S8& conv, Context& context) {
  const std::size_t channels = problem.shape.geometry.output_channels;
  Collector collector(problem.shape.pixels(), channels);
  const auto scratch = problem.scratch(conv, context.pool().num_threads());
  conv.run(context, problem.shape.extents, problem.x.data(), RealOutput{nullptr, collector.sink()},
           scratch.data());
  for (const auto& times : collector.taken) ASSERT_EQ(times, 1);
  std::vector<float> expected(problem.acc.size());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    expected[i] = problem.real(i);
  }
  expect_same_bits(expected.data(), collector.y.data(), expected.size());
}

inline void check_everything(Isa isa, Problem& problem, std::mt19937& random) {
  const ConvU8S8 conv = problem.pack(isa);
  SCOPED_TRACE(conv.kernel_name());
  Context context(1 + random() % 3, isa);
  check_requantized(problem, conv, context, kOutputs[random() % std::size(kOutputs)]);
  if (::testing::Test::HasFailure()) return;
  random() % 2 != 0 ? check_real(problem, conv, context) : check_sink(problem, conv, context);
  if (::testing::Test::HasFailure()) return;
  check_sum(problem, conv, context, kOutputs[random() % std::size(kOutputs)], random);
  if (::testing::Test::HasFailure()) return;
  check_hard_swish(problem, conv, context, kOutputs[random() % std::size(kOutputs)]);
}

}  // namespace qslim::test::conv_u8s8
