// SPDX-License-Identifier: Apache-2.0
//
// The saliency kernels against the reference, bit for bit; then filter_saliency.
#include "qslim/kernels/saliency/saliency.h"

#include <gtest/gtest.h>

#include "kernels/kernel_rows.h"
#include "qslim/kernels/saliency/table.h"
#include "qslim/reference/reduce.h"
#include "qslim/reference/saliency.h"
#include "test_data.h"

namespace qslim {
namespace {

using test::expect_same_bits;
using test::GuardedArray;

class Saliency : public test::KernelTest<SaliencyKernels> {};
QSLIM_TEST_KERNEL_ROWS(Saliency, "saliency", kSaliencyKernels);

constexpr std::size_t kRows = 3;

TEST_P(Saliency, SumsEqualTheReference) {
  for (const std::size_t n : test::ugly_sizes()) {
    GuardedArray<float> x(test::ugly_floats(kRows * n, unsigned(n), 1.0f, false), n % 5);
    GuardedArray<float> g(test::ugly_floats(kRows * n, unsigned(n) + 1, 1.0f, false), n % 3);
    std::vector<double> magnitudes(kRows), products(kRows), each_magnitude(n), each_product(n);
    for (std::size_t r = 0; r < kRows; ++r) {
      magnitudes[r] = 0.1 + reference::sum_of_magnitudes(n, x.data() + r * n);
      products[r] = 0.1 + reference::sum_of_products(n, x.data() + r * n, g.data() + r * n);
    }
    for (std::size_t i = 0; i < n; ++i) {
      each_magnitude[i] = 0.1 + reference::sum_of_magnitudes(1, x.data() + i);
      each_product[i] = 0.1 + reference::sum_of_products(1, x.data() + i, g.data() + i);
    }
    GuardedArray<double> acc(std::vector<double>(kRows, 0.1), 1), each(std::vector<double>(n, 0.1), n % 3);
    kernels().magnitudes_rows(kRows, n, x.data(), acc.data());
    expect_same_bits(magnitudes.data(), acc.data(), kRows);
    kernels().magnitudes_elements(n, x.data(), each.data());
    expect_same_bits(each_magnitude.data(), each.data(), n);
    std::fill(acc.data(), acc.data() + kRows, 0.1);
    std::fill(each.data(), each.data() + n, 0.1);
    kernels().products_rows(kRows, n, x.data(), g.data(), acc.data());
    expect_same_bits(products.data(), acc.data(), kRows);
    kernels().products_elements(n, x.data(), g.data(), each.data());
    expect_same_bits(each_product.data(), each.data(), n);
    acc.expect_canaries();
    each.expect_canaries();
  }
}

// Filters laid end to end, as the reference wants them: [channels][outer * inner].
std::vector<float> by_filter(const std::vector<float>& x, const ChannelExtents& e) {
  std::vector<float> filters;
  for (std::size_t c = 0; c < e.channels; ++c) {
    for (std::size_t o = 0; o < e.outer; ++o) {
      const float* run = x.data() + (o * e.channels + c) * e.inner;
      filters.insert(filters.end(), run, run + e.inner);
    }
  }
  return filters;
}

float expected_score(const std::vector<float>& x, const std::vector<float>& g, const ChannelExtents& e,
                     SaliencyCriterion criterion, std::size_t c) {
  const std::size_t length = e.outer * e.inner;
  if (criterion == SaliencyCriterion::kFpgm) {
    const std::vector<float> filters = by_filter(x, e);
    return static_cast<float>(reference::sum_of_distances(e.channels, length, filters.data(), c));
  }
  const ChannelExtents runs = normalized(e);
  double total = 0;
  for (std::size_t o = 0; o < runs.outer; ++o) {
    const std::size_t first = (o * runs.channels + c) * runs.inner;
    switch (criterion) {
      case SaliencyCriterion::kL1Norm: total += reference::sum_of_magnitudes(runs.inner, &x[first]); break;
      case SaliencyCriterion::kL2Norm: total += reference::sum_of_squares(runs.inner, &x[first]); break;
      default: total += reference::sum_of_products(runs.inner, &x[first], &g[first]);
    }
  }
  switch (criterion) {
    case SaliencyCriterion::kL1Norm: return static_cast<float>(total / static_cast<double>(length));
    case SaliencyCriterion::kL2Norm: return static_cast<float>(std::sqrt(total));
    default: return static_cast<float>(total * total);
  }
}

constexpr SaliencyCriterion kCriteria[] = {SaliencyCriterion::kL1Norm, SaliencyCriterion::kL2Norm,
                                           SaliencyCriterion::kFpgm, SaliencyCriterion::kTaylor};

TEST_P(Saliency, EveryLayoutAndThreadCountEqualsTheReference) {
  const ChannelExtents layouts[] = {{1, 70, 9},   {1, 33, 1030}, {3, 40, 7}, {130, 35, 1},
                                    {1, 1, 5000}, {1, 96, 512},  {2, 2, 3},  {1, 5, 1}};
  for (const ChannelExtents& e : layouts) {
    SCOPED_TRACE(::testing::Message() << e.outer << " x " << e.channels << " x " << e.inner);
    const std::vector<float> x = test::ugly_floats(e.size(), 3, 1e-3f, false);
    const std::vector<float> g = test::ugly_floats(e.size(), 4, 1e-3f, false);
    for (const SaliencyCriterion criterion : kCriteria) {
      std::vector<float> expected(e.channels);
      for (std::size_t c = 0; c < e.channels; ++c) expected[c] = expected_score(x, g, e, criterion, c);
      for (const std::size_t threads : {1u, 2u, 4u}) {
        Context context(threads, isa());
        std::vector<float> scores(e.channels);
        const bool is_taylor = criterion == SaliencyCriterion::kTaylor;
        filter_saliency(context, x, is_taylor ? Span<const float>(g) : Span<const float>(), e, criterion,
                        scores);
        expect_same_bits(expected.data(), scores.data(), scores.size());
      }
    }
  }
}

// A Gram matrix would lose these: filters that differ in the last bits of large numbers.
TEST(Saliency, NearlyEqualFiltersKeepTheirDistance) {
  Context context;
  const std::vector<float> x = {16777216.0f, 1.0f, 16777216.0f, 1.5f, 16777218.0f, 1.0f};
  std::vector<float> scores(3);
  filter_saliency(context, x, {}, {1, 3, 2}, SaliencyCriterion::kFpgm, scores);
  EXPECT_FLOAT_EQ(scores[0], 0.5f + 2.0f);
  EXPECT_FLOAT_EQ(scores[1], 0.5f + std::sqrt(4.25f));
}

TEST(Saliency, NothingScoresNothing) {
  Context context;
  for (const SaliencyCriterion criterion : kCriteria) {
    std::vector<float> scores(3, 1.0f), none;
    filter_saliency(context, {}, {}, {1, 3, 0}, criterion, scores);
    EXPECT_EQ(scores, std::vector<float>(3, 0.0f));
    filter_saliency(context, {}, {}, {1, 0, 9}, criterion, none);
  }
}

TEST(Saliency, RefusesWhatMakesNoSense) {
  Context context;
  std::vector<float> x(6, 1.0f), scores(2);
  const auto run = [&](Span<const float> gradient, ChannelExtents e, SaliencyCriterion criterion) {
    filter_saliency(context, x, gradient, e, criterion, scores);
  };
  EXPECT_NO_THROW(run({}, {1, 2, 3}, SaliencyCriterion::kL1Norm));
  EXPECT_THROW(run({}, {1, 2, 4}, SaliencyCriterion::kL1Norm), InvalidArgument);
  EXPECT_THROW(run({}, {1, 3, 2}, SaliencyCriterion::kL1Norm), InvalidArgument);
  EXPECT_THROW(run({}, {1, 2, 3}, SaliencyCriterion::kTaylor), InvalidArgument);
  EXPECT_THROW(run(x, {1, 2, 3}, SaliencyCriterion::kL2Norm), InvalidArgument);
}

}  // namespace
}  // namespace qslim
