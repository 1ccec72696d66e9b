// SPDX-License-Identifier: Apache-2.0
//
// TensorStatistics: the statistics of a tensor over any number of batches, in constant memory, for
// calibration.
//
//   min, max, abs_max   over all elements
//   average_abs_max     mean over samples of the sample's largest magnitude, rounded once (ExactSum)
//   histogram           of |x|, for each sign, on [0, 2^e): `bins` bins of width 2^e / bins, where e is the least
//                       exponent with abs_max < 2^e, so more than half of the bins are below abs_max
//
// A larger value doubles the range and merges bins in pairs. As bin numbers are truncated products with a
// power of two, this gives exactly the counts that the final range would have given from the start. Hence
// every number here is the same to the bit for any order of the batches, any split, any merge, any thread
// count and any instruction set: sharded calibration equals one machine's. Zero of either sign counts as x >=
// 0.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "qslim/core/context.h"
#include "qslim/core/span.h"
#include "qslim/quant/statistics/exact_sum.h"

namespace qslim {

class TensorStatistics {
 public:
  static constexpr std::uint32_t kDefaultBins = 4096;

  // A power of two in [64, 16384]: bins for each sign.
  explicit TensorStatistics(std::uint32_t bins = kDefaultBins);

  // Add `samples` samples of equal size, one after the other in x. Data with NaN or infinity is refused with
  // InvalidArgument, and the statistics are unchanged. No elements, no change.
  void update(Context& context, Span<const float> x, std::size_t samples);
  // Add everything that was added to `other`; both must have the same number of bins.
  void merge(const TensorStatistics& other);

  std::uint32_t bins() const noexcept { return bins_; }
  std::uint64_t count() const noexcept { return count_; }
  std::uint64_t samples() const noexcept { return samples_; }
  // 0 before the first update.
  float min() const noexcept { return min_; }
  float max() const noexcept { return max_; }
  float abs_max() const noexcept;
  double average_abs_max() const noexcept;
  double bin_width() const noexcept;
  Span<const std::uint64_t> positive_histogram() const noexcept { return {counts_.data(), bins_}; }
  Span<const std::uint64_t> negative_histogram() const noexcept { return {counts_.data() + bins_, bins_}; }

  std::string to_bytes() const;
  // Return the statistics that to_bytes wrote; throw FormatError for other bytes.
  static TensorStatistics from_bytes(std::string_view bytes);

  bool operator==(const TensorStatistics& other) const noexcept;
  bool operator!=(const TensorStatistics& other) const noexcept { return !(*this == other); }

 private:
  void grow_to(int exponent);

  std::uint32_t bins_;
  int exponent_;
  std::uint64_t count_ = 0;
  std::uint64_t samples_ = 0;
  float min_ = 0;
  float max_ = 0;
  ExactSum sample_abs_max_;
  std::vector<std::uint64_t> counts_;  // [2 * bins]: x >= 0, then x < 0
};

}  // namespace qslim
