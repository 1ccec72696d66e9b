// SPDX-License-Identifier: Apache-2.0
//
// Thresholds on data where the answer is known; tests/python/functional repeats the formulas in NumPy.
#include "qslim/quant/threshold_search/threshold_search.h"

#include <gtest/gtest.h>

#include "qslim/core/error.h"
#include "qslim/core/qparams.h"
#include "test_data.h"

namespace qslim {
namespace {

const ThresholdAlgo kAll[] = {ThresholdAlgo::kAbsMax, ThresholdAlgo::kAvg,   ThresholdAlgo::kHist,
                              ThresholdAlgo::kKl,     ThresholdAlgo::kMse,   ThresholdAlgo::kEmd,
                              ThresholdAlgo::kPtf,    ThresholdAlgo::kMinMax};

TensorStatistics statistics_of(const std::vector<float>& x, std::size_t samples = 1) {
  Context context;
  TensorStatistics statistics;
  statistics.update(context, x, samples);
  return statistics;
}

std::vector<float> normal(std::size_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> distribution;
  std::vector<float> x(n);
  for (float& value : x) value = distribution(random);
  return x;
}

TEST(ThresholdSearch, NamesAreThoseOfPaddleSlim) {
  const char* names[] = {"abs_max", "avg", "hist", "KL", "mse", "emd", "ptf", "min_max"};
  for (std::size_t i = 0; i < std::size(kAll); ++i) EXPECT_EQ(threshold_algo_from_name(names[i]), kAll[i]);
  try {
    threshold_algo_from_name("kl");
    FAIL();
  } catch (const InvalidArgument& error) {
    EXPECT_NE(std::string(error.what()).find("abs_max, avg, hist, KL, mse, emd, ptf, min_max, got 'kl'"),
              std::string::npos);
  }
}

TEST(ThresholdSearch, SimpleRules) {
  const TensorStatistics s = statistics_of({1.0f, -4.0f, 2.0f, 0.5f}, 2);
  EXPECT_EQ(find_threshold(s, ThresholdAlgo::kAbsMax), 4.0f);
  EXPECT_EQ(find_threshold(s, ThresholdAlgo::kMinMax), 4.0f);
  EXPECT_EQ(find_threshold(s, ThresholdAlgo::kAvg), 3.0f);
}

TEST(ThresholdSearch, ZerosGiveTheFloorAndEveryResultIsUsable) {
  const std::vector<std::vector<float>> tensors = {std::vector<float>(100, 0.0f),
                                                   std::vector<float>(100, 6.0f),
                                                   {1e-30f},
                                                   {0.0f, 1.0f, 0.0f, 1.0f},
                                                   {-3.0f},
                                                   normal(1000, 1),
                                                   {1e38f, -1e-38f},
                                                   {0.0f, 0.0f, 5.0f}};
  for (const std::vector<float>& x : tensors) {
    const TensorStatistics s = statistics_of(x);
    for (const ThresholdAlgo algo : kAll) {
      for (const int bits : {2, 4, 8, 16}) {
        for (const bool is_unsigned : {false, true}) {
          const float threshold = find_threshold(s, algo, {bits, is_unsigned, 0.9999});
          EXPECT_GT(threshold, 0.0f);
          EXPECT_LE(threshold, std::max(s.abs_max(), kThresholdFloor));
          if (s.abs_max() == 0) {
            EXPECT_EQ(threshold, kThresholdFloor);
          }
        }
      }
    }
  }
}

TEST(ThresholdSearch, HistKeepsTheWantedShare) {
  std::vector<float> x(10000);
  for (std::size_t i = 0; i < x.size(); ++i)
    x[i] = (i % 2 == 0 ? 1.0f : -1.0f) * static_cast<float>(i) / 10000.0f;
  const TensorStatistics s = statistics_of(x);
  for (const double percent : {0.5, 0.9, 0.99}) {
    EXPECT_NEAR(find_threshold(s, ThresholdAlgo::kHist, {8, false, percent}), percent, s.bin_width());
  }
  EXPECT_NEAR(find_threshold(s, ThresholdAlgo::kHist, {8, false, 1.0}), s.abs_max(), s.bin_width());
}

TEST(ThresholdSearch, UniformDataKeepsItsFullRange) {
  std::vector<float> x(100000);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = -1.0f + 2.0f * static_cast<float>(i) / 99999.0f;
  const TensorStatistics s = statistics_of(x);
  EXPECT_EQ(find_threshold(s, ThresholdAlgo::kMse), 1.0f);
  EXPECT_EQ(find_threshold(s, ThresholdAlgo::kPtf), 1.0f);
}

TEST(ThresholdSearch, ALonelyOutlierIsClipped) {
  std::vector<float> x = normal(100000, 2);
  x[5] = -12.0f;
  const TensorStatistics s = statistics_of(x);
  for (const ThresholdAlgo algo : {ThresholdAlgo::kHist, ThresholdAlgo::kKl}) {
    EXPECT_LT(find_threshold(s, algo), 7.0f);
    EXPECT_GT(find_threshold(s, algo), 3.0f);
  }
  // The sum of squares pays (12 - T)^2 once and about (T / 127)^2 / 12 for each of the others: least near 8.
  EXPECT_NEAR(find_threshold(s, ThresholdAlgo::kMse), 8.0f, 0.5f);
}

TEST(ThresholdSearch, SignDoesNotMatterToASignedGrid) {
  std::vector<float> x = normal(50000, 3), mirrored = x, folded = x;
  for (float& value : mirrored) value = -value;
  for (const ThresholdAlgo algo : kAll) {
    EXPECT_EQ(find_threshold(statistics_of(x), algo), find_threshold(statistics_of(mirrored), algo));
  }
  for (float& value : folded) value = std::fabs(value);
  for (const ThresholdAlgo algo : {ThresholdAlgo::kHist, ThresholdAlgo::kKl, ThresholdAlgo::kMse}) {
    EXPECT_EQ(find_threshold(statistics_of(x), algo), find_threshold(statistics_of(folded), algo));
  }
}

TEST(ThresholdSearch, KlDoesNotEraseConstantsAndMasks) {
  EXPECT_EQ(find_threshold(statistics_of(std::vector<float>(50, 6.0f)), ThresholdAlgo::kKl), 6.0f);
  EXPECT_EQ(find_threshold(statistics_of({0.0f, 1.0f, 1.0f, 0.0f}), ThresholdAlgo::kKl), 1.0f);
}

TEST(ThresholdSearch, RefusesWhatMakesNoSense) {
  const TensorStatistics s = statistics_of({1.0f});
  EXPECT_THROW(find_threshold(TensorStatistics(), ThresholdAlgo::kKl), InvalidArgument);
  EXPECT_THROW(find_threshold(s, ThresholdAlgo::kMse, {1, false, 0.9}), InvalidArgument);
  EXPECT_THROW(find_threshold(s, ThresholdAlgo::kHist, {8, false, 0.0}), InvalidArgument);
  EXPECT_THROW(find_threshold(s, ThresholdAlgo::kHist, {8, false, 1.1}), InvalidArgument);
}

}  // namespace
}  // namespace qslim
