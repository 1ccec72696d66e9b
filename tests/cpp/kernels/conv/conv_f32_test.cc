// SPDX-License-Identifier: Apache-2.0
//
// Float convolution on every instruction set against the reference, bit for bit, and its guarantees.
#include "qslim/kernels/conv/conv_f32.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "kernels/conv/random_conv.h"
#include "kernels/kernel_rows.h"
#include "qslim/kernels/depthwise_f32/table.h"
#include "qslim/kernels/gemm_f32/table.h"
#include "qslim/reference/conv.h"
#include "test_data.h"

namespace qslim {
namespace {

using test::ConvCase;
using test::TightArray;

class ConvolutionF32 : public test::IsaTest {};
INSTANTIATE_TEST_SUITE_P(Kernels, ConvolutionF32, testing::ValuesIn(test::every_isa("conv_f32")),
                         test::NameOfRow());

class GemmF32 : public test::KernelTest<GemmF32Kernel> {};
QSLIM_TEST_KERNEL_ROWS(GemmF32, "gemm_f32", kGemmF32Kernels);

class DepthwiseF32 : public test::KernelTest<DepthwiseF32Kernel> {};
QSLIM_TEST_KERNEL_ROWS(DepthwiseF32, "depthwise_f32", kDepthwiseF32Kernels);

constexpr float kUntouched = -12345.0f;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Problem {
  ConvCase shape;
  TightArray<float> x;
  std::vector<float> weights, bias;
  float lo = -kInfinity, hi = kInfinity;
  std::vector<float> y;  // expected, dense

  Problem(const ConvCase& shape_, std::mt19937& random) : shape(shape_), x(shape_.x_size()) {
    std::normal_distribution<float> normal;
    const auto number = [&] {
      switch (random() % 16) {
        case 0: return 0.0f;
        case 1: return -0.0f;
        case 2: return normal(random) * 1e-30f;  // products underflow
        default: return normal(random);
      }
    };
    for (std::size_t i = 0; i < x.size(); ++i) x.data()[i] = number();
    for (std::size_t i = 0; i < shape.weights(); ++i) weights.push_back(number());
    if (random() % 4 != 0) {
      for (std::size_t i = 0; i < shape.geometry.output_channels; ++i) bias.push_back(number());
    }
    if (random() % 2 != 0) lo = 0.0f;
    if (random() % 3 == 0) hi = 6.0f;
    compute();
  }
  void compute() {
    y.resize(shape.pixels() * shape.geometry.output_channels);
    reference::conv_f32(shape.geometry, shape.extents, x.data(), weights.data(),
                        bias.empty() ? nullptr : bias.data(), lo, hi, y.data());
  }
};

void check(Problem& problem, Context& context) {
  const ConvCase& shape = problem.shape;
  const std::size_t channels = shape.geometry.output_channels;
  const ConvF32 conv(context.isa(), shape.geometry, problem.weights, problem.bias);
  SCOPED_TRACE(conv.kernel_name());
  AlignedBuffer<std::byte> scratch(conv.scratch_bytes(shape.extents, context.pool().num_threads()));

  std::vector<float> expected(shape.y_size(), kUntouched), y = expected;
  for (std::size_t i = 0; i < problem.y.size(); ++i) {
    expected[shape.y_index(i / channels) + i % channels] = problem.y[i];
  }
  conv.run(context, shape.extents, problem.x.data(), FloatOutput{problem.lo, problem.hi, y.data(), {}},
           scratch.data());
  test::expect_same_bits(expected.data(), y.data(), y.size());

  struct Dense {
    std::size_t channels;
    float* y;
  };
  std::vector<float> dense(problem.y.size());
  const Dense target{channels, dense.data()};
  const PixelSink sink{&target,
                       [](const void* self, std::size_t first, std::size_t pixels, const float* rows) {
                         const Dense& d = *static_cast<const Dense*>(self);
                         std::memcpy(d.y + first * d.channels, rows, pixels * d.channels * sizeof(float));
                       }};
  conv.run(context, shape.extents, problem.x.data(), FloatOutput{problem.lo, problem.hi, nullptr, sink},
           scratch.data());
  test::expect_same_bits(problem.y.data(), dense.data(), dense.size());
}

// The convolution runs the kernel of that name, and equals the reference.
void check_chosen(Isa isa, const char* kernel, const ConvGeometry& geometry) {
  std::mt19937 random(6);
  Problem problem(test::random_output(geometry, random), random);
  EXPECT_STREQ(ConvF32(isa, geometry, problem.weights, problem.bias).kernel_name(), kernel);
  Context context(1, isa);
  check(problem, context);
}

TEST_P(GemmF32, ItsConvolutionsEqualTheReference) {
  ConvGeometry geometry;
  geometry.input_channels = 19, geometry.output_channels = 70;
  check_chosen(isa(), kernels().name, geometry);
  geometry.kernel_h = geometry.kernel_w = 3;
  check_chosen(isa(), kernels().name, geometry);
}

TEST_P(DepthwiseF32, ItsConvolutionsEqualTheReference) {
  check_chosen(isa(), kernels().name, test::depthwise_geometry(3));
  check_chosen(isa(), kernels().name, test::depthwise_geometry(5));
}

TEST_P(ConvolutionF32, MatrixProductsOfAllSmallSizes) {
  std::mt19937 random(1);
  const std::size_t sizes[] = {1,  2,  3,  5,  6,  7,  8,  9,  12, 13, 16, 17,
                               24, 31, 32, 33, 48, 49, 63, 64, 65, 70, 129};
  for (std::size_t i = 0; i < 400; ++i) {
    const auto size = [&] { return sizes[random() % std::size(sizes)]; };
    const std::size_t m = i < 129 ? i + 1 : size(), n = i >= 129 && i < 258 ? i - 128 : size();
    const std::size_t k = i >= 258 && i < 387 ? i - 257 : size() % 40 + 1;
    SCOPED_TRACE(::testing::Message() << "case " << i << ": M " << m << " N " << n << " K " << k);
    Problem problem(test::matrix_case(m, n, k), random);
    Context context(1 + random() % 3, isa());
    check(problem, context);
    if (HasFailure()) return;
  }
}

TEST_P(ConvolutionF32, RandomConvolutions) {
  const unsigned seed = 4711;
  std::mt19937 random(seed);
  for (int i = 0; i < 500; ++i) {
    const ConvCase shape = test::random_case(random);
    SCOPED_TRACE(::testing::Message() << "seed " << seed << " case " << i << ": " << shape);
    Problem problem(shape, random);
    Context context(1 + random() % 3, isa());
    check(problem, context);
    if (HasFailure()) return;
  }
}

TEST_P(ConvolutionF32, ThreadsChangeNothing) {
  std::mt19937 random(3);
  for (const ConvCase& shape :
       {test::matrix_case(300, 100, 64), test::matrix_case(49, 200, 100), test::matrix_case(1, 700, 100)}) {
    Problem problem(shape, random);
    for (const std::size_t threads : {1u, 2u, 3u}) {
      Context context(threads, isa());
      check(problem, context);
    }
  }
}

// Infinities go where they belong and nowhere else, not even into the other groups of a grouped convolution;
// a NaN survives the clamp.
TEST_P(ConvolutionF32, InfinitiesAndNaN) {
  std::mt19937 random(8);
  for (const std::size_t groups : {1u, 2u, 12u}) {
    ConvCase shape = test::matrix_case(9, 24, 24);
    shape.geometry.groups = groups;
    if (groups == 12) shape.geometry.output_channels = 12, shape.geometry.input_channels = 12;
    Problem problem(shape, random);
    problem.x.data()[3] = kInfinity;
    problem.x.data()[24 + 17] = std::numeric_limits<float>::quiet_NaN();
    problem.lo = 0.0f, problem.hi = 6.0f;
    problem.compute();
    const std::size_t channels = shape.geometry.output_channels;
    Context context(1, isa());
    const ConvF32 conv(isa(), shape.geometry, problem.weights, problem.bias);
    AlignedBuffer<std::byte> scratch(conv.scratch_bytes(shape.extents, 1));
    std::vector<float> y(shape.y_size());
    conv.run(context, shape.extents, problem.x.data(), FloatOutput{0.0f, 6.0f, y.data(), {}}, scratch.data());
    for (std::size_t i = 0; i < problem.y.size(); ++i) {
      const float actual = y[shape.y_index(i / channels) + i % channels];
      ASSERT_TRUE(actual == problem.y[i] || (std::isnan(actual) && std::isnan(problem.y[i])))
          << conv.kernel_name() << " element " << i << ": " << problem.y[i] << " against " << actual;
    }
  }
}

}  // namespace
}  // namespace qslim
