// SPDX-License-Identifier: Apache-2.0
//
// Statistics against sums anyone can follow, and their promise: no order, split, merge, thread count or
// instruction set changes a bit.
#include "qslim/quant/statistics/tensor_statistics.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "qslim/core/error.h"
#include "test_data.h"

namespace qslim {
namespace {

std::vector<float> batch(std::size_t n, unsigned seed, float size) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, size);
  std::vector<float> x(n);
  for (float& value : x) value = random() % 3 == 0 ? 0.0f : normal(random);
  return x;
}

TensorStatistics statistics_of(const std::vector<float>& x, std::size_t samples, std::uint32_t bins = 4096) {
  Context context;
  TensorStatistics statistics(bins);
  statistics.update(context, x, samples);
  return statistics;
}

TEST(TensorStatistics, CountsWhatItSaw) {
  const std::vector<float> x = {0.5f, -3.0f, 0.0f, -0.0f, 1.0f, 2.5f};
  const TensorStatistics s = statistics_of(x, 2, 64);
  EXPECT_EQ(s.count(), 6u);
  EXPECT_EQ(s.samples(), 2u);
  EXPECT_EQ(s.min(), -3.0f);
  EXPECT_EQ(s.max(), 2.5f);
  EXPECT_EQ(s.abs_max(), 3.0f);
  EXPECT_EQ(s.average_abs_max(), (3.0 + 2.5) / 2);
  EXPECT_EQ(s.bin_width(), 4.0 / 64);  // 3 < 4 = 2^2
  EXPECT_EQ(s.positive_histogram()[0], 2u);
  EXPECT_EQ(s.positive_histogram()[8], 1u);
  EXPECT_EQ(s.positive_histogram()[16], 1u);
  EXPECT_EQ(s.positive_histogram()[40], 1u);
  EXPECT_EQ(s.negative_histogram()[48], 1u);
}

TEST(TensorStatistics, HistogramIsThatOfTheFinalRange) {
  // Batches that grow from 1e-30 to 1e30 and shrink again.
  Context context;
  for (const std::uint32_t bins : {64u, 4096u, 16384u}) {
    TensorStatistics s(bins);
    std::vector<float> all;
    for (const float size : {1e-30f, 3.0f, 0.01f, 1000.0f, 1e30f, 1e-3f}) {
      const std::vector<float> x = batch(5000, static_cast<unsigned>(all.size()), size);
      s.update(context, x, 5);
      all.insert(all.end(), x.begin(), x.end());
    }
    std::vector<std::uint64_t> positive(bins, 0), negative(bins, 0);
    for (const float value : all) {
      const auto bin = static_cast<std::size_t>(std::fabs(static_cast<double>(value)) / s.bin_width());
      ++(value < 0 ? negative : positive)[bin];
    }
    const auto p = s.positive_histogram(), n = s.negative_histogram();
    EXPECT_TRUE(std::equal(p.begin(), p.end(), positive.begin()));
    EXPECT_TRUE(std::equal(n.begin(), n.end(), negative.begin()));
    EXPECT_EQ(s.count(), all.size());
    EXPECT_GE(s.abs_max(), s.bin_width() * bins / 2);
    EXPECT_LT(s.abs_max(), s.bin_width() * bins);
  }
}

TEST(TensorStatistics, OrderSplitMergeThreadsAndIsaChangeNothing) {
  struct Batch {
    std::vector<float> x;
    std::size_t samples;
  };
  std::vector<Batch> batches;
  // Samples above and below the block size, and one batch large enough to be shared among threads.
  const std::size_t samples[] = {1, 3, 100, 4, 7}, sizes[] = {40000, 33000, 17, 300000, 1};
  for (unsigned i = 0; i < 5; ++i) {
    batches.push_back(
        {batch(samples[i] * sizes[i], i, std::pow(10.0f, static_cast<float>(i) - 2)), samples[i]});
  }
  Context reference_context(1, Isa::kScalar);
  TensorStatistics expected;
  for (const Batch& b : batches) expected.update(reference_context, b.x, b.samples);

  for (const Isa isa : available_isas()) {
    for (const std::size_t threads : {1u, 2u, 4u}) {
      SCOPED_TRACE(::testing::Message() << name_of(isa) << ", " << threads << " threads");
      Context context(threads, isa);
      std::mt19937 random(static_cast<unsigned>(threads));
      std::vector<std::size_t> order(batches.size());
      std::iota(order.begin(), order.end(), std::size_t{0});
      std::shuffle(order.begin(), order.end(), random);
      TensorStatistics in_order, one_by_one, left, right;
      for (const std::size_t i : order) {
        const Batch& b = batches[i];
        in_order.update(context, b.x, b.samples);
        (random() % 2 == 0 ? left : right).update(context, b.x, b.samples);
        const std::size_t sample_size = b.x.size() / b.samples;
        for (std::size_t s = 0; s < b.samples; ++s) {
          one_by_one.update(context, {b.x.data() + s * sample_size, sample_size}, 1);
        }
      }
      left.merge(right);
      EXPECT_TRUE(in_order == expected);
      EXPECT_TRUE(one_by_one == expected);
      EXPECT_TRUE(left == expected);
      EXPECT_EQ(in_order.to_bytes(), expected.to_bytes());
    }
  }
}

TEST(TensorStatistics, MergingNothingAndMergingItself) {
  TensorStatistics s = statistics_of(batch(1000, 1, 1.0f), 10), empty;
  const TensorStatistics before = s;
  s.merge(empty);
  EXPECT_TRUE(s == before);
  empty.merge(before);
  EXPECT_TRUE(empty == before);
  s.merge(s);
  TensorStatistics twice = before;
  twice.merge(before);
  EXPECT_TRUE(s == twice);
  EXPECT_EQ(s.count(), 2000u);
  EXPECT_EQ(s.average_abs_max(), before.average_abs_max());
  TensorStatistics narrow(64);
  EXPECT_THROW(narrow.merge(s), InvalidArgument);
}

TEST(TensorStatistics, RefusesWhatIsNotFiniteAndStaysAsItWas) {
  for (const Isa isa : available_isas()) {
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::quiet_NaN(),
                            INFINITY, -INFINITY}) {
      Context context(1, isa);
      TensorStatistics s = statistics_of(batch(1000, 1, 1.0f), 10);
      const TensorStatistics before = s;
      std::vector<float> x = batch(100000, 2, 50.0f);
      x[90001] = bad;
      try {
        s.update(context, x, 4);
        FAIL();
      } catch (const InvalidArgument& error) {
        EXPECT_NE(std::string(error.what()).find("the first at flat index 90001"), std::string::npos)
            << error.what();
      }
      EXPECT_TRUE(s == before);
    }
  }
}

TEST(TensorStatistics, NothingAndZerosAndTheWholeRangeOfFloat) {
  Context context;
  TensorStatistics s;
  s.update(context, Span<const float>(), 0);
  EXPECT_TRUE(s == TensorStatistics());
  EXPECT_EQ(s.average_abs_max(), 0.0);
  const std::vector<float> zeros(1000, -0.0f);
  s.update(context, zeros, 10);
  EXPECT_EQ(s.positive_histogram()[0], 1000u);
  EXPECT_FALSE(std::signbit(s.min()));
  const std::vector<float> extremes = {std::numeric_limits<float>::max(),
                                       std::numeric_limits<float>::denorm_min(),
                                       std::numeric_limits<float>::lowest()};
  s.update(context, extremes, 3);
  EXPECT_EQ(s.count(), 1003u);
  EXPECT_EQ(s.positive_histogram()[4095] + s.negative_histogram()[4095], 2u);
  EXPECT_THROW(s.update(context, extremes, 2), InvalidArgument);
}

TEST(TensorStatistics, BytesGoThereAndBack) {
  for (const TensorStatistics& s : {TensorStatistics(), statistics_of(batch(1000, 1, 3.0f), 10, 128)}) {
    EXPECT_TRUE(TensorStatistics::from_bytes(s.to_bytes()) == s);
  }
}

TEST(TensorStatistics, NoByteIsTrusted) {
  const std::string good = statistics_of(batch(1000, 1, 3.0f), 10, 64).to_bytes();
  EXPECT_THROW(TensorStatistics::from_bytes(""), FormatError);
  for (std::size_t size = 0; size < good.size(); size += 13) {
    EXPECT_THROW(TensorStatistics::from_bytes(good.substr(0, size)), FormatError);
  }
  EXPECT_THROW(TensorStatistics::from_bytes(good + "x"), FormatError);
  // Each field that another one contradicts: magic, version, bins, exponent, count, samples, min, max, a
  // count.
  for (const std::size_t at : {0u, 4u, 8u, 12u, 16u, 28u, 35u, 39u, 87u, 88u}) {
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 0x7f);
    EXPECT_THROW(TensorStatistics::from_bytes(bad), FormatError) << "byte " << at;
  }
}

TEST(TensorStatistics, BinsAreAPowerOfTwo) {
  EXPECT_THROW(TensorStatistics(1000), InvalidArgument);
  EXPECT_THROW(TensorStatistics(32), InvalidArgument);
  EXPECT_THROW(TensorStatistics(32768), InvalidArgument);
}

}  // namespace
}  // namespace qslim
