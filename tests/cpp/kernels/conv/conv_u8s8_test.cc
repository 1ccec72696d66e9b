// SPDX-License-Identifier: Apache-2.0
//
// Int8 convolution on every instruction set against the reference, bit for bit, and its guarantees.
#include "qslim/kernels/conv/conv_u8s8.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <mutex>
#include <string>

#include "kernels/conv/conv_u8s8_problem.h"
#include "kernels/conv/random_conv.h"
#include "kernels/kernel_rows.h"
#include "qslim/kernels/depthwise_rows_u8s8/table.h"
#include "qslim/kernels/depthwise_u8s8/table.h"
#include "qslim/kernels/gemm_u8s8/table.h"
#include "qslim/kernels/winograd_u8s8/table.h"
#include "qslim/reference/conv.h"
#include "test_data.h"

namespace qslim {
namespace {

using namespace test::conv_u8s8;
using test::ConvCase;

class ConvolutionU8S8 : public test::IsaTest {};
INSTANTIATE_TEST_SUITE_P(Kernels, ConvolutionU8S8, testing::ValuesIn(test::every_isa("conv_u8s8")),
                         test::NameOfRow());

class GemmU8S8 : public test::KernelTest<GemmU8S8Kernel> {};
QSLIM_TEST_KERNEL_ROWS(GemmU8S8, "gemm_u8s8", kGemmU8S8Kernels);

class DepthwiseU8S8 : public test::KernelTest<DepthwiseU8S8Kernel> {};
QSLIM_TEST_KERNEL_ROWS(DepthwiseU8S8, "depthwise_u8s8", kDepthwiseU8S8Kernels);

// Of a table that ends with a row that has no kernels.
template <class Kernel, std::size_t N>
std::vector<test::KernelRow<Kernel>> optional_rows(const char* family, const Kernel (&table)[N]) {
  auto rows = test::supported_rows(family, table);
  rows.pop_back();
  return rows;
}

class WinogradU8S8 : public test::KernelTest<WinogradU8S8Kernel> {};
INSTANTIATE_TEST_SUITE_P(Kernels, WinogradU8S8,
                         testing::ValuesIn(optional_rows("winograd_u8s8", kWinogradU8S8Kernels)),
                         test::NameOfRow());
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(WinogradU8S8);

class DepthwiseRowsU8S8 : public test::KernelTest<DepthwiseRowsU8S8Kernel> {};
INSTANTIATE_TEST_SUITE_P(Kernels, DepthwiseRowsU8S8,
                         testing::ValuesIn(optional_rows("depthwise_rows_u8s8", kDepthwiseRowsU8S8Kernels)),
                         test::NameOfRow());
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(DepthwiseRowsU8S8);

// The convolution runs the kernel of that name, and equals the reference.
void check_chosen(Isa isa, const char* kernel, const ConvGeometry& geometry) {
  std::mt19937 random(6);
  Problem problem(test::random_output(geometry, random), Values::kRandom, random);
  EXPECT_STREQ(problem.pack(isa).kernel_name(), kernel);
  check_everything(isa, problem, random);
}

TEST_P(GemmU8S8, ItsConvolutionsEqualTheReference) {
  ConvGeometry geometry;
  geometry.input_channels = 19, geometry.output_channels = 70;
  check_chosen(isa(), kernels().name, geometry);
  geometry.kernel_h = geometry.kernel_w = 3, geometry.stride_h = 2;
  check_chosen(isa(), kernels().name, geometry);
}

// With dilation, as kernels for whole rows may take the others.
// For scales that any network has.
TEST_P(GemmU8S8, FusesWhatItHasKernelsFor) {
  std::mt19937 random(8);
  Problem problem(test::matrix_case(7, 70, 20), Values::kRandom, random);
  std::fill(problem.multiplier.begin(), problem.multiplier.end(), 1e-3f);
  problem.bias.clear();
  const ConvU8S8 conv = problem.pack(isa());
  EXPECT_EQ(conv.adds_residuals(20, 0.05f), kernels().requantize_sum != nullptr);
  EXPECT_FALSE(conv.adds_residuals(0x1p20f, 0x1p20f));
  EXPECT_EQ(conv.applies_hard_swish(20), kernels().requantize_hard_swish != nullptr);
  EXPECT_FALSE(conv.applies_hard_swish(0x1p30f));
}

TEST_P(DepthwiseU8S8, ItsConvolutionsEqualTheReference) {
  for (const std::size_t kernel : {3u, 5u}) {
    ConvGeometry geometry = test::depthwise_geometry(kernel);
    geometry.dilation_h = geometry.dilation_w = 2;
    check_chosen(isa(), kernels().name, geometry);
  }
}

// Each number of channels that fills the last block with 1, 2 or 4 parts, and their neighbours; images of
// fewer rows than parts and of more than a band; borders of every width, cropped ones too.
TEST_P(DepthwiseRowsU8S8, ItsConvolutionsEqualTheReference) {
  const unsigned seed = 35;
  std::mt19937 random(seed);
  for (const std::size_t channels :
       {2u, 15u, 16u, 17u, 31u, 32u, 33u, 63u, 64u, 65u, 80u, 81u, 96u, 97u, 144u}) {
    for (const std::size_t side : {3u, 5u}) {
      for (const std::size_t stride : {1u, 2u}) {
        ConvGeometry g = test::depthwise_geometry(side);
        g.groups = g.input_channels = g.output_channels = channels;
        g.stride_h = g.stride_w = stride;
        for (int i = 0; i < 6; ++i) {
          // 5x5 kernels keep the sums of 32 pixels.
          ConvCase shape = test::random_extents(g, i == 0 ? 70 : 20, random);
          if (shape.extents.out_h == 0 || shape.extents.out_w == 0) continue;
          SCOPED_TRACE(::testing::Message() << "seed " << seed << ": " << shape);
          const Values values[] = {Values::kRandom, Values::kLargest, Values::kAlternating};
          Problem problem(shape, values[i % 3], random);
          EXPECT_STREQ(problem.pack(isa()).kernel_name(), kernels().name);
          check_everything(isa(), problem, random);
          if (HasFailure()) return;
        }
      }
    }
  }
}

TEST_P(ConvolutionU8S8, MatrixProductsOfAllSmallSizes) {
  std::mt19937 random(1);
  std::vector<std::size_t> sizes = {1,  2,  3,  4,  5,  6,  7,  8,  9,  11, 12, 13, 15, 16,  17,  18, 19,
                                    23, 24, 25, 31, 32, 33, 47, 48, 49, 63, 64, 65, 70, 127, 128, 129};
  for (std::size_t i = 0; i < 900; ++i) {
    const auto size = [&] { return sizes[random() % sizes.size()]; };
    // Every size once per extent, in random company.
    const std::size_t m = i < 129 ? i + 1 : size(), n = i >= 129 && i < 258 ? i - 128 : size();
    const std::size_t k = i >= 258 && i < 387 ? i - 257 : size();
    const ConvCase shape = test::matrix_case(m, n, k);
    SCOPED_TRACE(::testing::Message() << "case " << i << ": M " << m << " N " << n << " K " << k);
    Problem problem(shape, Values::kRandom, random);
    check_everything(isa(), problem, random);
    if (HasFailure()) return;
  }
}

TEST_P(ConvolutionU8S8, RandomConvolutions) {
  const unsigned seed = 20240607;
  std::mt19937 random(seed);
  for (int i = 0; i < 700; ++i) {
    const ConvCase shape = test::random_case(random);
    SCOPED_TRACE(::testing::Message() << "seed " << seed << " case " << i << ": " << shape);
    Problem problem(shape, Values::kRandom, random);
    check_everything(isa(), problem, random);
    if (HasFailure()) return;
  }
}

// Images of few channels, whose patches some kernels lay out column by column: every height of such kernels
// and one more, rows wider than a block, pixels with and without a gap.
TEST_P(ConvolutionU8S8, FirstConvolutions) {
  const unsigned seed = 224;
  std::mt19937 random(seed);
  for (int i = 0; i < 160; ++i) {
    ConvGeometry g;
    g.input_channels = 1 + static_cast<std::size_t>(i) % 5, g.output_channels = 1 + random() % 70;
    g.kernel_h = 1 + static_cast<std::size_t>(i) / 5 % 8, g.kernel_w = 1 + random() % 8;
    g.stride_h = 1 + random() % 3, g.stride_w = 1 + random() % 3, g.dilation_h = 1 + random() % 2;
    ConvCase shape = test::random_extents(g, 24, random);
    if (i % 8 == 0) {
      ConvExtents& e = shape.extents;
      e.in_w = 300 * g.stride_w, e.pad_left = static_cast<std::ptrdiff_t>(g.kernel_w / 2);
      e.out_w = (e.in_w + 2 * (g.kernel_w / 2) - g.kernel_w) / g.stride_w + 1;
      e.y_row_stride = e.out_w * e.y_pixel_stride + 3, e.y_image_stride = e.out_h * e.y_row_stride;
    }
    if (shape.extents.out_h == 0 || shape.extents.out_w == 0 || shape.macs() > 6000000) continue;
    SCOPED_TRACE(::testing::Message() << "seed " << seed << " case " << i << ": " << shape);
    const Values values[] = {Values::kRandom, Values::kLargest, Values::kAlternating};
    Problem problem(shape, values[i % 3], random);
    check_everything(isa(), problem, random);
    if (HasFailure()) return;
  }
}

ConvGeometry winograd_geometry(std::size_t input_channels, std::size_t output_channels) {
  ConvGeometry g;
  g.input_channels = input_channels, g.output_channels = output_channels;
  g.kernel_h = g.kernel_w = 3;
  return g;
}

// Odd and even images, cut and padded, down to a single pixel and to more tiles than a block has.
TEST_P(ConvolutionU8S8, WinogradTiles) {
  const unsigned seed = 1509;
  std::mt19937 random(seed);
  for (int i = 0; i < 150; ++i) {
    const ConvGeometry g = winograd_geometry(32 + random() % 40, 32 + random() % 40);
    const ConvCase shape = test::random_extents(g, i % 10 == 0 ? 40 : 7, random);
    if (shape.extents.out_h == 0 || shape.extents.out_w == 0) continue;
    SCOPED_TRACE(::testing::Message() << "seed " << seed << " case " << i << ": " << shape);
    const Values values[] = {Values::kRandom, Values::kLargest, Values::kAlternating};
    Problem problem(shape, values[i % 3], random);
    check_everything(isa(), problem, random);
    if (HasFailure()) return;
  }
}

// 4 * acc must fit int32: 9 * 1827 * 255 * 128 * 4 < 2^31 <= 9 * 1828 * 255 * 128 * 4.
TEST_P(WinogradU8S8, OnlyWhereSumsFit) {
  std::mt19937 random(4);
  for (const std::size_t channels : {1827u, 1828u}) {
    ConvCase shape = test::random_extents(winograd_geometry(channels, 32), 1, random);
    shape.extents.batch = shape.extents.in_h = 1, shape.extents.in_w = 4;
    shape.extents.pad_top = shape.extents.pad_left = 1;
    shape.extents.out_h = 1, shape.extents.out_w = 4;
    shape.extents.y_row_stride = shape.extents.y_image_stride = 4 * shape.extents.y_pixel_stride;
    Problem problem(shape, Values::kRandom, random);
    std::fill(problem.weights.begin(), problem.weights.end(), std::int8_t{-128});
    for (std::size_t i = 0; i < problem.x.size(); ++i) problem.x.data()[i] = 255;
    problem.x_zero_point = 0;
    reference::conv_u8s8(shape.geometry, shape.extents, problem.x.data(), 0, problem.weights.data(),
                         problem.acc.data());
    const std::string gemm = std::string("gemm_u8s8_") + name_of(isa());
    EXPECT_EQ(problem.pack(isa()).kernel_name(), channels == 1827 ? kernels().name : gemm);
    check_everything(isa(), problem, random);
  }
}

TEST_P(ConvolutionU8S8, ExtremeValues) {
  const unsigned seed = 77;
  std::mt19937 random(seed);
  for (int i = 0; i < 200; ++i) {
    const ConvCase shape = i % 2 == 0
                               ? test::random_case(random)
                               : test::matrix_case(1 + random() % 20, 1 + random() % 70, 1 + random() % 600);
    SCOPED_TRACE(::testing::Message() << "seed " << seed << " case " << i << ": " << shape);
    Problem problem(shape, i % 4 < 2 ? Values::kLargest : Values::kAlternating, random);
    check_everything(isa(), problem, random);
    if (HasFailure()) return;
  }
}

// Large enough for several blocks of rows and panels, on several threads: the same bytes.
TEST_P(ConvolutionU8S8, ThreadsChangeNothing) {
  std::mt19937 random(3);
  ConvCase shapes[] = {test::matrix_case(500, 100, 64), test::matrix_case(49, 300, 200),
                       test::matrix_case(1, 1000, 300)};
  ConvCase spatial = test::matrix_case(1, 40, 24);
  spatial.geometry.kernel_h = spatial.geometry.kernel_w = 3;
  spatial.extents.batch = 2;
  spatial.extents.in_h = spatial.extents.out_h = 19, spatial.extents.in_w = spatial.extents.out_w = 23;
  spatial.extents.pad_top = spatial.extents.pad_left = 1;
  spatial.extents.y_row_stride = 23 * 40, spatial.extents.y_image_stride = 19 * 23 * 40;
  ConvCase depthwise = spatial;
  // So many channels that a row reaches a sink in two pieces.
  depthwise.geometry.groups = depthwise.geometry.input_channels = depthwise.geometry.output_channels = 900;
  depthwise.extents.x_pixel_stride = depthwise.extents.y_pixel_stride = 900;
  depthwise.extents.y_row_stride = 23 * 900, depthwise.extents.y_image_stride = 19 * 23 * 900;
  ConvCase winograd = spatial;
  winograd.geometry.input_channels = winograd.extents.x_pixel_stride = 33;
  for (const ConvCase& shape : {shapes[0], shapes[1], shapes[2], spatial, winograd, depthwise}) {
    SCOPED_TRACE(::testing::Message() << shape);
    Problem problem(shape, Values::kRandom, random);
    const ConvU8S8 conv = problem.pack(isa());
    SCOPED_TRACE(conv.kernel_name());
    for (const std::size_t threads : {1u, 2u, 3u}) {
      Context context(threads, isa());
      check_requantized(problem, conv, context, kOutputs[1]);
      check_real(problem, conv, context);
      check_sink(problem, conv, context);
    }
  }
}

// A product of k terms whose sums are `accs`, one for each column.
Problem problem_with_sums(const std::vector<std::int32_t>& accs, std::size_t k, std::mt19937& random) {
  Problem problem(test::matrix_case(7, accs.size(), k), Values::kRandom, random);
  problem.x_zero_point = 0;
  for (std::size_t i = 0; i < problem.x.size(); ++i) problem.x.data()[i] = i % k < k - 2 ? 255 : 1;
  for (std::size_t n = 0; n < accs.size(); ++n) {
    std::int32_t rest = accs[n];
    for (std::size_t i = 0; i < k; ++i) {
      const std::int32_t x = i < k - 2 ? 255 : 1, weight = std::clamp(rest / x, -127, 127);
      problem.weights[n * k + i] = static_cast<std::int8_t>(weight);
      rest -= weight * x;
    }
    EXPECT_EQ(rest, 0) << accs[n];
  }
  for (std::size_t i = 0; i < problem.acc.size(); ++i) problem.acc[i] = accs[i % accs.size()];
  return problem;
}

// Every output, with sums and biases that run over all interesting numbers; those of 1e10 and more, as the
// largest multipliers, do not fit int32.
TEST_P(ConvolutionU8S8, RequantizationOfEveryKind) {
  std::vector<std::int32_t> accs;
  for (std::int32_t acc = -70000; acc <= 70000; acc += 61) accs.push_back(acc);
  for (std::int32_t acc = -600; acc <= 600; ++acc) accs.push_back(acc);
  const std::vector<std::int32_t> large = {1 << 24, (1 << 24) + 1, -(1 << 24) - 1, 1 << 30, -(1 << 30)};
  std::mt19937 random(5);
  Problem problems[] = {problem_with_sums(accs, 5, random), problem_with_sums(large, 33200, random)};
  const float multipliers[] = {1e-10f, 0x1p-24f, 1.0f / 3, 0x1p-1f, 0x1p-2f, 0x1p-9f, 0.0117f, 0.99f,
                               1.0f,   2.5f,     1e4f,     1e20f,   3e38f,   0.0f,    -0.5f,   -3e38f};
  const float biases[] = {0.0f,  -0.0f,  0.5f, -0.5f, 1.5f,  0x1p-24f, -1e-3f,
                          1e-3f, 126.5f, 77,   1e7f,  1e10f, -3e38f,   3e38f};
  for (Problem& problem : problems) {
    for (std::size_t i = 0; i < 2 * std::size(multipliers); ++i) {
      const float multiplier = multipliers[i / 2];
      const std::size_t count = i % 2 == 0 ? std::size(biases) - 3 : std::size(biases);
      problem.bias.resize(problem.multiplier.size());
      for (std::size_t n = 0; n < problem.bias.size(); ++n) problem.bias[n] = biases[n % count];
      std::fill(problem.multiplier.begin(), problem.multiplier.end(), multiplier);
      SCOPED_TRACE(multiplier);
      const ConvU8S8 conv = problem.pack(isa());
      SCOPED_TRACE(conv.kernel_name());
      Context context(1, isa());
      for (const RequantizedOutput& output : kOutputs) check_requantized(problem, conv, context, output);
      check_real(problem, conv, context);
      if (HasFailure()) return;
    }
  }
}

TEST_P(ConvolutionU8S8, EmptyBatch) {
  ConvCase shape = test::matrix_case(4, 5, 6);
  const std::vector<std::int8_t> weights(30);
  const std::vector<float> multiplier(5);
  const ConvU8S8 conv(isa(), shape.geometry, weights, 0, multiplier, {});
  Context context(2, isa());
  shape.extents.batch = 0;
  AlignedBuffer<std::byte> scratch(conv.scratch_bytes(shape.extents, 2));
  conv.run(context, shape.extents, nullptr, RequantizedOutput{1, 0, 0, 255, nullptr}, scratch.data());
}

TEST(ConvolutionU8S8, RefusesWhatItCannotCompute) {
  const Isa isa = Isa::kScalar;
  ConvGeometry g;
  g.input_channels = 6, g.output_channels = 4;
  const std::vector<std::int8_t> weights(24);
  const std::vector<float> one(1), three(3), four(4);
  EXPECT_NO_THROW(ConvU8S8(isa, g, weights, 0, four, four));
  EXPECT_THROW(ConvU8S8(isa, g, weights, 0, four, three), InvalidArgument);
  EXPECT_THROW(ConvU8S8(isa, g, weights, 0, three, {}), InvalidArgument);
  EXPECT_THROW(ConvU8S8(isa, g, Span<const std::int8_t>(weights.data(), 23), 0, four, {}), InvalidArgument);
  g.groups = 4;
  EXPECT_THROW(ConvU8S8(isa, g, weights, 0, four, {}), InvalidArgument);
  // 66311 * 255 * 127 < 2^31 <= 66312 * 255 * 127
  g = ConvGeometry{};
  g.output_channels = 1;
  const std::vector<std::int8_t> full(66312, 127);
  g.input_channels = 66311;
  EXPECT_NO_THROW(ConvU8S8(isa, g, Span<const std::int8_t>(full.data(), 66311), 0, one, {}));
  g.input_channels = 66312;
  EXPECT_THROW(ConvU8S8(isa, g, full, 0, one, {}), InvalidArgument);
}

}  // namespace
}  // namespace qslim
