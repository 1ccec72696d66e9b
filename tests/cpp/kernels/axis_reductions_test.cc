// SPDX-License-Identifier: Apache-2.0
//
// Reductions over an axis against loops in the documented order.
#include "qslim/kernels/axis_reductions/axis_reductions.h"

#include <gtest/gtest.h>

#include "kernels/axis_layouts.h"
#include "kernels/kernel_rows.h"
#include "qslim/kernels/axis_reductions/table.h"
#include "qslim/reference/lanes.h"
#include "test_data.h"

namespace qslim {
namespace {

using test::AxisLayout;
using test::check_threads;

class ReduceAxes : public test::KernelTest<AxisReductionsKernels> {};
QSLIM_TEST_KERNEL_ROWS(ReduceAxes, "axis_reductions", kAxisReductionsKernels);

class Argmax : public test::KernelTest<AxisReductionsKernels> {};
QSLIM_TEST_KERNEL_ROWS(Argmax, "axis_reductions", kAxisReductionsKernels);

constexpr float kInfinity = std::numeric_limits<float>::infinity();
const float kNan = std::numeric_limits<float>::quiet_NaN();

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

TEST_P(ReduceAxes, EqualsTheReference) {
  const ReduceOp ops[] = {ReduceOp::kSum, ReduceOp::kMean, ReduceOp::kMax,
                          ReduceOp::kMin, ReduceOp::kProd, ReduceOp::kSumSquares};
  const float neutral[] = {0, 0, -kInfinity, kInfinity, 1, 0};
  for (const AxisLayout& layout : test::axis_layouts()) {
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
      check_threads<float>(isa(), expected, [&](Context& context, float* y) {
        reduce_axes(context, ops[i], layout.outer, layout.axis, layout.inner, x.data(), y);
      });
      if (HasFailure()) FAIL() << layout.outer << " " << layout.axis << " " << layout.inner << " op " << i;
    }
  }
}

TEST_P(ReduceAxes, AnEmptyAxisGivesTheNeutralElement) {
  check_threads<float>(isa(), {0, 0}, [](Context& context, float* y) {
    reduce_axes(context, ReduceOp::kSum, 2, 0, 1, nullptr, y);
  });
  check_threads<float>(isa(), {-kInfinity, -kInfinity}, [](Context& context, float* y) {
    reduce_axes(context, ReduceOp::kMax, 1, 0, 2, nullptr, y);
  });
}

TEST_P(Argmax, FirstLastAndNan) {
  for (const AxisLayout& layout : test::axis_layouts()) {
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
        check_threads<std::int64_t>(isa(), expected, [&](Context& context, std::int64_t* y) {
          argmax(context, layout.outer, layout.axis, layout.inner, x.data(), y, last);
        });
        if (HasFailure()) FAIL() << layout.outer << " " << layout.axis << " " << layout.inner;
      }
    }
  }
}

}  // namespace
}  // namespace qslim
