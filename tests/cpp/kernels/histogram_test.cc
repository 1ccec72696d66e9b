// SPDX-License-Identifier: Apache-2.0
//
// Every histogram kernel against the reference's bin rule; then the entry points.
#include "qslim/kernels/histogram/histogram.h"

#include <gtest/gtest.h>

#include <numeric>

#include "kernels/kernel_rows.h"
#include "qslim/kernels/histogram/table.h"
#include "qslim/reference/histogram.h"
#include "test_data.h"

namespace qslim {
namespace {

using test::GuardedArray;

class Histogram : public test::KernelTest<HistogramKernels> {};
QSLIM_TEST_KERNEL_ROWS(Histogram, "histogram", kHistogramKernels);

TEST_P(Histogram, SignedBinsEqualTheReference) {
  const std::uint32_t bins = 256;
  const std::size_t stride = 2 * bins + kZeroSlots;
  for (const std::size_t n : test::ugly_sizes()) {
    for (const float bins_per_unit : {0x1p-110f, 0.5f, 4.0f, 0x1p100f}) {
      GuardedArray<float> x(test::ugly_floats(n, unsigned(n), 1.0f, false), n % 5);
      GuardedArray<std::uint32_t> counts(std::vector<std::uint32_t>(2 * stride, 0), 1);
      std::vector<std::uint32_t> expected(2 * bins, 0), actual(2 * bins, 0);
      for (std::size_t i = 0; i < n; ++i) ++expected[reference::signed_bin(x.data()[i], bins_per_unit, bins)];
      kernels().signed_bins(n, x.data(), bins_per_unit, bins, counts.data());
      for (std::size_t i = 0; i < 2 * stride; ++i) {
        const std::size_t bin = i % stride;
        actual[bin < 2 * bins ? bin : 0] += counts.data()[i];
      }
      ASSERT_EQ(actual, expected) << n << " elements, bins_per_unit " << bins_per_unit;
      counts.expect_canaries();
    }
  }
}

TEST_P(Histogram, LinearBinsEqualTheReference) {
  struct Range {
    std::uint32_t bins;
    float lo, hi;
  };
  const Range ranges[] = {{1, 0, 1},        {10, -3, 7},          {2048, -100, 100},
                          {100, 0, 1e-40f}, {64, 1000, 1000.01f}, {7, -3e38f, 3e38f},
                          {50000, 0, 128},  {256, 0, 255.5f}};
  for (const Range& range : ranges) {
    SCOPED_TRACE(::testing::Message() << range.bins << " bins on " << range.lo << ", " << range.hi);
    const std::vector<float> edges = histogram_edges(range.bins, range.lo, range.hi);
    for (const std::size_t n : {0, 1, 15, 33, 700, 5000}) {
      std::vector<float> x = test::ugly_floats(n, unsigned(n), 1.0f, true);
      for (std::size_t i = 0; i < n; i += 3) {  // edges and their neighbours
        x[i] = edges[i * 7 % edges.size()];
        if (i % 2 == 0) x[i] = std::nextafter(x[i], i % 4 == 0 ? INFINITY : -INFINITY);
      }
      std::vector<std::uint64_t> expected(range.bins + 1, 0);
      for (const float value : x) ++expected[reference::linear_bin(value, range.bins, edges.data())];
      expected.pop_back();
      Context context(1, isa());
      ASSERT_EQ(histogram(context, x, range.bins, range.lo, range.hi), expected) << n;
    }
  }
}

TEST(Histogram, ThreadsChangeNothing) {
  const std::vector<float> x = test::ugly_floats(1 << 20, 1, 0.05f, true);
  Context one(1), four(4);
  EXPECT_EQ(histogram(one, x, 1000, -3, 3), histogram(four, x, 1000, -3, 3));
}

TEST(Histogram, RefusesAnEmptyRange) {
  Context context;
  std::vector<float> x(3);
  EXPECT_THROW(histogram(context, x, 10, 1, 1), InvalidArgument);
  EXPECT_THROW(histogram(context, x, 0, 0, 1), InvalidArgument);
  EXPECT_THROW(histogram(context, x, 10, 0, INFINITY), InvalidArgument);
}

}  // namespace
}  // namespace qslim
