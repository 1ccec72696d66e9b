// SPDX-License-Identifier: Apache-2.0
//
// TensorStatistics as bytes. Little-endian, version 1:
//
//   "QSTS"  u32 version  u32 bins  i32 exponent  u64 count  u64 samples  f32 min  f32 max  u64 sum[6]
//   u64 counts[2 * bins]
//
// Nothing read is trusted: every field is checked against the others.
#include <cmath>
#include <cstring>
#include <limits>

#include "qslim/core/error.h"
#include "qslim/kernels/histogram/histogram.h"
#include "qslim/quant/statistics/tensor_statistics.h"

namespace qslim {
namespace {

constexpr char kMagic[4] = {'Q', 'S', 'T', 'S'};
constexpr std::uint32_t kVersion = 1;
constexpr std::size_t kHeaderSize = 4 + 4 + 4 + 4 + 8 + 8 + 4 + 4 + 8 * ExactSum::kLimbs;

template <class T>
void append(std::string& bytes, T value) {
  std::uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  for (std::size_t i = 0; i < sizeof value; ++i) bytes.push_back(static_cast<char>(bits >> (8 * i) & 0xff));
}

template <class T>
T take(std::string_view& bytes) {
  std::uint64_t bits = 0;
  for (std::size_t i = 0; i < sizeof(T); ++i)
    bits |= std::uint64_t{static_cast<unsigned char>(bytes[i])} << (8 * i);
  bytes.remove_prefix(sizeof(T));
  T value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

void expect(bool condition, const char* what) {
  if (!condition) throw FormatError(concatenate("TensorStatistics.from_bytes: ", what));
}

// The extremes must lie in the outermost bins that are filled.
bool extremes_fit_histogram(const TensorStatistics& s) {
  const auto positive = s.positive_histogram(), negative = s.negative_histogram();
  const auto bin_of = [&](float x) {
    return static_cast<std::size_t>(std::fabs(static_cast<double>(x)) / s.bin_width());
  };
  const auto first = [](Span<const std::uint64_t> counts) {
    std::size_t i = 0;
    while (i < counts.size() && counts[i] == 0) ++i;
    return i;
  };
  const auto last = [](Span<const std::uint64_t> counts) {
    std::size_t i = counts.size();
    while (i > 0 && counts[i - 1] == 0) --i;
    return i - 1;
  };
  constexpr std::size_t kNone = std::numeric_limits<std::size_t>::max();
  const bool min_fits = s.min() < 0 ? last(negative) == bin_of(s.min())
                                    : last(negative) == kNone && first(positive) == bin_of(s.min());
  const bool max_fits = s.max() >= 0 ? last(positive) == bin_of(s.max())
                                     : last(positive) == kNone && first(negative) == bin_of(s.max());
  return min_fits && max_fits;
}

}  // namespace

std::string TensorStatistics::to_bytes() const {
  std::string bytes(kMagic, sizeof kMagic);
  bytes.reserve(kHeaderSize + 8 * counts_.size());
  append(bytes, kVersion);
  append(bytes, bins_);
  append(bytes, static_cast<std::int32_t>(exponent_));
  append(bytes, count_);
  append(bytes, samples_);
  append(bytes, min_);
  append(bytes, max_);
  for (const std::uint64_t limb : sample_abs_max_.limbs()) append(bytes, limb);
  for (const std::uint64_t count : counts_) append(bytes, count);
  return bytes;
}

TensorStatistics TensorStatistics::from_bytes(std::string_view bytes) {
  expect(bytes.size() >= kHeaderSize && std::memcmp(bytes.data(), kMagic, sizeof kMagic) == 0,
         "these bytes are not tensor statistics");
  const std::size_t size = bytes.size();
  bytes.remove_prefix(sizeof kMagic);
  const auto version = take<std::uint32_t>(bytes);
  if (version != kVersion) {
    throw FormatError(
        concatenate("TensorStatistics.from_bytes: version ", version, " is not known here, only ", kVersion));
  }
  const auto bins = take<std::uint32_t>(bytes);
  expect(bins >= 64 && bins <= (1u << 14) && (bins & (bins - 1)) == 0, "impossible number of bins");
  expect(size == kHeaderSize + 16 * std::size_t{bins}, "truncated, or longer than it says");

  TensorStatistics statistics(bins);
  statistics.exponent_ = take<std::int32_t>(bytes);
  statistics.count_ = take<std::uint64_t>(bytes);
  statistics.samples_ = take<std::uint64_t>(bytes);
  statistics.min_ = take<float>(bytes);
  statistics.max_ = take<float>(bytes);
  ExactSum::Limbs limbs;
  for (std::uint64_t& limb : limbs) limb = take<std::uint64_t>(bytes);
  statistics.sample_abs_max_ = ExactSum(limbs);
  std::uint64_t total = 0;
  for (std::uint64_t& count : statistics.counts_) {
    count = take<std::uint64_t>(bytes);
    expect(count <= statistics.count_ - total, "the histogram does not add up to the count");
    total += count;
  }
  expect(total == statistics.count_, "the histogram does not add up to the count");
  expect(statistics.samples_ <= statistics.count_ && (statistics.samples_ == 0) == (statistics.count_ == 0),
         "impossible number of samples");
  expect(
      std::isfinite(statistics.min_) && std::isfinite(statistics.max_) && statistics.min_ <= statistics.max_,
      "impossible minimum or maximum");
  const int exponent = statistics.exponent_;
  const double abs_max = statistics.abs_max();
  expect(exponent >= kMinExponent && exponent <= kMaxExponent && abs_max < std::ldexp(1.0, exponent) &&
             (exponent == kMinExponent || abs_max >= std::ldexp(1.0, exponent - 1)),
         "the histogram's range does not fit the largest magnitude");
  expect(statistics.count_ == 0 || extremes_fit_histogram(statistics),
         "minimum or maximum does not fit the histogram");
  const bool has_samples = statistics.samples_ != 0;
  expect(has_samples ? statistics.average_abs_max() <= abs_max : limbs == ExactSum::Limbs{},
         "the average magnitude exceeds the largest");
  return statistics;
}

}  // namespace qslim
