// SPDX-License-Identifier: Apache-2.0
//
// Reductions over an axis, softmax and layer normalization against loops in the documented order.
#include "qslim/kernels/axis_reductions/axis_reductions.h"

#include <gtest/gtest.h>

#include <functional>

#include "qslim/kernels/layer_norm/layer_norm.h"
#include "qslim/kernels/softmax/softmax.h"
#include "qslim/reference/elementwise.h"
#include "qslim/reference/lanes.h"
#include "test_data.h"

namespace qslim {
namespace {

using test::GuardedArray;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
const float kNan = std::numeric_limits<float>::quiet_NaN();

struct Layout {
  std::size_t outer, axis, inner;
  std::size_t size() const { return outer * axis * inner; }
  std::size_t at(std::size_t o, std::size_t a, std::size_t i) const { return (o * axis + a) * inner + i; }
};

std::vector<Layout> layouts() {
  std::vector<Layout> all = {{0, 5, 3},   {3, 5, 0},   {2, 7, 1},    {2, 7, 3},      {1, 3, 100}, {3, 9, 64},
                             {2, 33, 65}, {1, 2, 700}, {50, 40, 40}, {1, 100, 1000}, {200, 80, 1}};
  for (const std::size_t n : test::ugly_sizes()) {
    if (n > 0 && n < 1100) all.push_back({3, n, 1});
  }
  all.push_back({2, 8211, 1});
  return all;
}

template <class T>
void expect_same_numbers(const std::vector<T>& expected, const T* actual) {
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (expected[i] != expected[i] && actual[i] != actual[i]) continue;
    if (std::memcmp(&expected[i], actual + i, sizeof(T)) != 0) {
      FAIL() << "element " << i << " of " << expected.size() << ": expected " << expected[i] << ", got "
             << actual[i];
    }
  }
}

template <class T>
void check(const std::vector<T>& expected, const std::function<void(Context&, T*)>& run) {
  for (const Isa isa : available_isas()) {
    for (const std::size_t threads : {1u, 2u, 3u}) {
      SCOPED_TRACE(testing::Message() << name_of(isa) << ", " << threads << " threads");
      Context context(threads, isa);
      GuardedArray<T> y(expected.size(), 1);
      run(context, y.data());
      expect_same_numbers(expected, y.data());
      y.expect_canaries();
      if (testing::Test::HasFailure()) return;
    }
  }
}

std::vector<float> without_negative_zero(std::vector<float> x) {
  for (float& value : x) value = value == 0 ? 0.0f : value;
  return x;
}

float merge(ReduceOp op, float a, float b) {
  switch (op) {
    case ReduceOp::kSum:
    case ReduceOp::kMean: return a + b;
    case ReduceOp::kSumSquares: return a + b * b;
    case ReduceOp::kProd: return a * b;
    case ReduceOp::kMax: return std::isnan(a) || std::isnan(b) ? kNan : std::max(a, b);
    case ReduceOp::kMin: return std::isnan(a) || std::isnan(b) ? kNan : std::min(a, b);
  }
  return 0;
}

TEST(ReduceAxes, EqualsTheReference) {
  const ReduceOp ops[] = {ReduceOp::kSum, ReduceOp::kMean, ReduceOp::kMax,
                          ReduceOp::kMin, ReduceOp::kProd, ReduceOp::kSumSquares};
  const float neutral[] = {0, 0, -kInfinity, kInfinity, 1, 0};
  for (const Layout& layout : layouts()) {
    const std::vector<float> x =
        without_negative_zero(test::ugly_floats(layout.size(), 3, 0.01f, layout.axis % 2 == 0));
    for (int i = 0; i < 6; ++i) {
      std::vector<float> expected;
      for (std::size_t o = 0; o < layout.outer; ++o) {
        for (std::size_t c = 0; c < layout.inner; ++c) {
          float acc = neutral[i];
          if (layout.inner == 1) {
            std::vector<float> row(x.begin() + static_cast<std::ptrdiff_t>(o * layout.axis),
                                   x.begin() + static_cast<std::ptrdiff_t>((o + 1) * layout.axis));
            if (ops[i] == ReduceOp::kSumSquares) {
              for (float& value : row) value *= value;
            }
            const ReduceOp op = ops[i] == ReduceOp::kSumSquares ? ReduceOp::kSum : ops[i];
            acc = reference::reduce_in_lanes(layout.axis, row.data(), acc,
                                             [&](float a, float b) { return merge(op, a, b); });
          } else {
            for (std::size_t a = 0; a < layout.axis; ++a) acc = merge(ops[i], acc, x[layout.at(o, a, c)]);
          }
          expected.push_back(ops[i] == ReduceOp::kMean ? acc / static_cast<float>(layout.axis) : acc);
        }
      }
      check<float>(expected, [&](Context& context, float* y) {
        reduce_axes(context, ops[i], layout.outer, layout.axis, layout.inner, x.data(), y);
      });
      if (HasFailure()) FAIL() << layout.outer << " " << layout.axis << " " << layout.inner << " op " << i;
    }
  }
}

TEST(ReduceAxes, AnEmptyAxisGivesTheNeutralElement) {
  check<float>({0, 0},
               [](Context& context, float* y) { reduce_axes(context, ReduceOp::kSum, 2, 0, 1, nullptr, y); });
  check<float>({-kInfinity, -kInfinity},
               [](Context& context, float* y) { reduce_axes(context, ReduceOp::kMax, 1, 0, 2, nullptr, y); });
}

TEST(Argmax, FirstLastAndNan) {
  for (const Layout& layout : layouts()) {
    for (const bool last : {false, true}) {
      for (const bool specials : {false, true}) {
        std::vector<float> x = test::ugly_floats(layout.size(), 5, 0.5f, specials);
        for (float& value : x) value = std::fabs(value) < 1e30f ? std::round(value / 30) : value;  // ties
        std::vector<std::int64_t> expected;
        for (std::size_t o = 0; o < layout.outer; ++o) {
          for (std::size_t c = 0; c < layout.inner; ++c) {
            std::size_t best = 0;
            for (std::size_t a = 1; a < layout.axis; ++a) {
              const float value = x[layout.at(o, a, c)], old = x[layout.at(o, best, c)];
              if (std::isnan(old)) break;
              if (std::isnan(value) || value > old || (last && value == old)) best = a;
            }
            expected.push_back(static_cast<std::int64_t>(best));
          }
        }
        check<std::int64_t>(expected, [&](Context& context, std::int64_t* y) {
          argmax(context, layout.outer, layout.axis, layout.inner, x.data(), y, last);
        });
        if (HasFailure()) FAIL() << layout.outer << " " << layout.axis << " " << layout.inner;
      }
    }
  }
}

TEST(Softmax, EqualsTheReference) {
  for (const Layout& layout : layouts()) {
    const std::vector<float> x = test::ugly_floats(layout.size(), 3, 0.1f, layout.axis % 2 == 0);
    std::vector<float> expected(x.size());
    for (std::size_t o = 0; o < layout.outer; ++o) {
      for (std::size_t c = 0; c < layout.inner; ++c) {
        float largest = -kInfinity, sum = 0;
        for (std::size_t a = 0; a < layout.axis; ++a)
          largest = merge(ReduceOp::kMax, largest, x[layout.at(o, a, c)]);
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
    check<float>(expected, [&](Context& context, float* y) {
      softmax(context, layout.outer, layout.axis, layout.inner, x.data(), y);
    });
    check<float>(expected, [&](Context& context, float* y) {
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

TEST(LayerNorm, EqualsTheReference) {
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
      check<float>(expected, [&](Context& context, float* y) {
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
