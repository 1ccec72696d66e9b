// SPDX-License-Identifier: Apache-2.0
//
// Softmax and layer normalization against loops in the documented order.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/axis_layouts.h"
#include "kernels/kernel_rows.h"
#include "qslim/kernels/layer_norm/layer_norm.h"
#include "qslim/kernels/layer_norm/table.h"
#include "qslim/kernels/softmax/softmax.h"
#include "qslim/kernels/softmax/table.h"
#include "qslim/reference/elementwise.h"
#include "qslim/reference/lanes.h"
#include "test_data.h"

namespace qslim {
namespace {

using test::AxisLayout;
using test::check_threads;

class Softmax : public test::KernelTest<SoftmaxKernels> {};
QSLIM_TEST_KERNEL_ROWS(Softmax, "softmax", kSoftmaxKernels);

class LayerNorm : public test::KernelTest<LayerNormKernels> {};
QSLIM_TEST_KERNEL_ROWS(LayerNorm, "layer_norm", kLayerNormKernels);

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// The larger of the two, or NaN if one of them is.
float larger(float a, float b) {
  return std::isnan(a) || std::isnan(b) ? std::numeric_limits<float>::quiet_NaN() : std::max(a, b);
}

TEST_P(Softmax, EqualsTheReference) {
  for (const AxisLayout& layout : test::axis_layouts()) {
    const std::vector<float> x = test::ugly_floats(layout.size(), 3, 0.1f, layout.axis % 2 == 0);
    std::vector<float> expected(x.size());
    for (std::size_t o = 0; o < layout.outer; ++o) {
      for (std::size_t c = 0; c < layout.inner; ++c) {
        float largest = -kInfinity, sum = 0;
        for (std::size_t a = 0; a < layout.axis; ++a) largest = larger(largest, x[layout.at(o, a, c)]);
        std::vector<float> e(layout.axis);
        for (std::size_t a = 0; a < layout.axis; ++a) {
          e[a] = reference::exp(x[layout.at(o, a, c)] - largest);
          sum += e[a];
        }
        if (layout.inner == 1) sum = reference::sum_in_lanes(layout.axis, e.data());
        for (std::size_t a = 0; a < layout.axis; ++a) {
          expected[layout.at(o, a, c)] = e[a] / sum;
        }
      }
    }
    check_threads<float>(isa(), expected, [&](Context& context, float* y) {
      softmax(context, layout.outer, layout.axis, layout.inner, x.data(), y);
    });
    check_threads<float>(isa(), expected, [&](Context& context, float* y) {
      std::copy(x.begin(), x.end(), y);
      softmax(context, layout.outer, layout.axis, layout.inner, y, y);
    });
    if (HasFailure()) FAIL() << layout.outer << " " << layout.axis << " " << layout.inner;
  }
}

// Each exponential errs by 1 ulp, the sum of n by at most n / 16 + 4 roundings, the division by half an ulp.
TEST(Softmax, AgreesWithDouble) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0, 3);
  std::vector<float> x(1000), y(1000);
  for (float& value : x) value = normal(random);
  Context context;
  softmax(context, 1, 1000, 1, x.data(), y.data());
  double sum = 0, largest = *std::max_element(x.begin(), x.end());
  for (const float value : x) sum += std::exp(value - largest);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double truth = std::exp(x[i] - largest) / sum;
    // x - max is rounded first: half an ulp of at most 16 is 2^-20 of the argument.
    EXPECT_NEAR(y[i], truth, truth * (0x1p-20 + (1000.0 / 16 + 6) * 0x1p-24));
  }
}

TEST_P(LayerNorm, EqualsTheReference) {
  for (const std::size_t n : test::ugly_sizes()) {
    if (n == 0) continue;
    const std::size_t rows = n > 500 ? 7 : 40;
    const std::vector<float> x = test::ugly_floats(rows * n, 3, 0.1f, false);
    const std::vector<float> gamma = test::ugly_floats(n, 4, 0.1f, false),
                             beta = test::ugly_floats(n, 5, 0.1f, false);
    for (const int with : {0, 1, 2, 3}) {
      std::vector<float> expected;
      for (std::size_t r = 0; r < rows; ++r) {
        const float* const row = x.data() + r * n;
        const float mean = reference::sum_in_lanes(n, row) / static_cast<float>(n);
        std::vector<float> squares;
        for (std::size_t i = 0; i < n; ++i) squares.push_back((row[i] - mean) * (row[i] - mean));
        const float variance = reference::sum_in_lanes(n, squares.data()) / static_cast<float>(n);
        const float inv_std = 1 / std::sqrt(variance + 1e-5f);
        for (std::size_t i = 0; i < n; ++i) {
          float y = (row[i] - mean) * inv_std;
          if ((with & 1) != 0) y *= gamma[i];
          if ((with & 2) != 0) y += beta[i];
          expected.push_back(y);
        }
      }
      check_threads<float>(isa(), expected, [&](Context& context, float* y) {
        layer_norm(context, rows, n, x.data(),
                   {(with & 1) != 0 ? gamma.data() : nullptr, (with & 2) != 0 ? beta.data() : nullptr, 1e-5f},
                   y);
      });
      if (HasFailure()) FAIL() << n;
    }
  }
}

}  // namespace
}  // namespace qslim
