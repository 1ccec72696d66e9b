// SPDX-License-Identifier: Apache-2.0
//
// One pass over a batch: the range of a block decides whether the histogram must grow, then the block is
// counted while it is in the cache. The batch is gathered on the side, one part per thread, and merged at the
// end; what cannot be used (NaN, infinity) is thus found before anything changes.
#include "qslim/quant/statistics/tensor_statistics.h"

#include <algorithm>
#include <atomic>
#include <cmath>

#include "qslim/kernels/histogram/histogram.h"
#include "qslim/kernels/reduce/reduce.h"

namespace qslim {
namespace {

constexpr std::size_t kBlock = 1 << 15;    // elements: 128 KiB, still in L2 when it is counted
constexpr std::size_t kMinPart = 1 << 18;  // elements worth a second thread

// The least exponent of a range [0, 2^e) that holds x.
int exponent_for(float x) {
  int exponent = 0;
  std::frexp(x, &exponent);  // x = m * 2^exponent, 0.5 <= m < 1
  return std::max(kMinExponent, x == 0 ? kMinExponent : exponent);
}

// Adds counts of a range to those of one `halvings` times twice as wide.
void add_bins(const std::vector<std::uint64_t>& from, int halvings, std::vector<std::uint64_t>& to) {
  const std::size_t bins = to.size() / 2;
  const int shift = std::min(halvings, 31);
  for (std::size_t i = 0; i < bins; ++i) {
    to[i >> shift] += from[i];
    to[bins + (i >> shift)] += from[bins + i];
  }
}

void widen(std::vector<std::uint64_t>& counts, int halvings) {
  if (halvings == 0) return;
  std::vector<std::uint64_t> wide(counts.size(), 0);
  add_bins(counts, halvings, wide);
  counts.swap(wide);
}

[[noreturn]] void refuse(Span<const float> x) {
  std::size_t nans = 0, infinities = 0, first = x.size();
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (std::isfinite(x[i])) continue;
    ++(std::isnan(x[i]) ? nans : infinities);
    first = std::min(first, i);
  }
  throw InvalidArgument(concatenate("TensorStatistics.update: x must be finite, got ", nans, " NaN and ",
                                    infinities, " infinite among ", x.size(),
                                    " elements, the first at flat index ", first));
}

// The statistics that one thread gathers of a batch.
struct Part {
  Part(Isa isa, std::uint32_t bins, int exponent)
      : counter(isa, bins), exponent(exponent), counts(2 * bins, 0) {}

  void count_block(std::size_t n, const float* x, float abs_max) {
    const int needed = exponent_for(abs_max);
    if (needed > exponent) {
      flush();
      widen(counts, needed - exponent);
      exponent = needed;
    }
    counter.add(n, x, exponent);
    pending += n;
    if (pending >= (std::size_t{1} << 30)) flush();
  }
  void flush() {
    if (pending != 0) counter.flush(counts.data());
    pending = 0;
  }

  SignedHistogram counter;
  int exponent;
  std::size_t pending = 0;
  std::vector<std::uint64_t> counts;
  float min = 0, max = 0;
  bool empty = true;
  ExactSum sample_abs_max;
};

}  // namespace

TensorStatistics::TensorStatistics(std::uint32_t bins) : bins_(bins), exponent_(kMinExponent) {
  QSLIM_REQUIRE(bins >= 64 && bins <= (1u << 14) && (bins & (bins - 1)) == 0,
                "TensorStatistics: bins must be a power of two in [64, 16384], got ", bins);
  counts_.assign(2 * std::size_t{bins}, 0);
}

void TensorStatistics::grow_to(int exponent) {
  if (exponent <= exponent_) return;
  widen(counts_, exponent - exponent_);
  exponent_ = exponent;
}

void TensorStatistics::update(Context& context, Span<const float> x, std::size_t samples) {
  if (x.empty()) return;
  QSLIM_REQUIRE(samples > 0 && x.size() % samples == 0, "TensorStatistics.update: x has ", x.size(),
                " elements, which ", samples, " samples of equal size cannot share");
  const std::size_t sample_size = x.size() / samples;
  // A block is some whole samples, or a piece of one.
  const bool whole_samples = sample_size <= kBlock;
  const std::size_t pieces = (sample_size + kBlock - 1) / kBlock;
  const std::size_t samples_per_block = whole_samples ? kBlock / sample_size : 1;
  const std::size_t blocks =
      whole_samples ? (samples + samples_per_block - 1) / samples_per_block : samples * pieces;
  std::vector<float> piece_abs_max(whole_samples ? 0 : blocks, 0.0f);

  const std::size_t part_count =
      std::max<std::size_t>(1, std::min({context.pool().num_threads(), x.size() / kMinPart, blocks}));
  std::vector<Part> parts(part_count, Part(context.isa(), bins_, exponent_));
  std::atomic<bool> all_finite{true};
  context.pool().run(part_count, [&](std::size_t index) {
    Part& part = parts[index];
    std::vector<float> low(samples_per_block), high(samples_per_block);
    for (std::size_t b = blocks * index / part_count; b < blocks * (index + 1) / part_count; ++b) {
      std::size_t rows = 1, inner = 0, begin = 0;
      if (whole_samples) {
        rows = std::min(samples_per_block, samples - b * samples_per_block);
        inner = sample_size;
        begin = b * samples_per_block * sample_size;
      } else {
        const std::size_t done = b % pieces * kBlock;
        inner = std::min(kBlock, sample_size - done);
        begin = b / pieces * sample_size + done;
      }
      min_max_rows(context.isa(), rows, inner, x.data() + begin, low.data(), high.data());
      float block_abs_max = 0;
      for (std::size_t r = 0; r < rows; ++r) {
        if (!std::isfinite(low[r]) || !std::isfinite(high[r])) {
          all_finite = false;
          return;
        }
        const float abs_max = std::max(std::fabs(low[r]), std::fabs(high[r]));
        block_abs_max = std::max(block_abs_max, abs_max);
        whole_samples ? part.sample_abs_max.add(abs_max) : void(piece_abs_max[b] = abs_max);
        part.min = part.empty ? low[r] : std::min(part.min, low[r]);
        part.max = part.empty ? high[r] : std::max(part.max, high[r]);
        part.empty = false;
      }
      part.count_block(rows * inner, x.data() + begin, block_abs_max);
    }
    part.flush();
  });
  if (!all_finite) refuse(x);

  for (const Part& part : parts) {
    const bool first = count_ == 0 && &part == parts.data();
    min_ = (first ? part.min : std::min(min_, part.min)) + 0.0f;  // + 0.0f: no negative zero
    max_ = (first ? part.max : std::max(max_, part.max)) + 0.0f;
    sample_abs_max_.add(part.sample_abs_max);
    grow_to(part.exponent);
    add_bins(part.counts, exponent_ - part.exponent, counts_);
  }
  for (std::size_t b = 0; b < piece_abs_max.size(); b += pieces) {
    const auto first = piece_abs_max.begin() + static_cast<std::ptrdiff_t>(b);
    sample_abs_max_.add(*std::max_element(first, first + static_cast<std::ptrdiff_t>(pieces)));
  }
  count_ += x.size();
  samples_ += samples;
}

void TensorStatistics::merge(const TensorStatistics& other) {
  QSLIM_REQUIRE(bins_ == other.bins_, "TensorStatistics.merge: both must have the same number of bins, got ",
                bins_, " and ", other.bins_);
  if (other.count_ == 0) return;
  const std::vector<std::uint64_t> theirs = other.counts_;  // `other` may be *this
  min_ = count_ == 0 ? other.min_ : std::min(min_, other.min_);
  max_ = count_ == 0 ? other.max_ : std::max(max_, other.max_);
  const int exponent = other.exponent_;
  grow_to(exponent);
  add_bins(theirs, exponent_ - exponent, counts_);
  sample_abs_max_.add(other.sample_abs_max_);
  count_ += other.count_;
  samples_ += other.samples_;
}

float TensorStatistics::abs_max() const noexcept { return std::max(std::fabs(min_), std::fabs(max_)); }

double TensorStatistics::average_abs_max() const noexcept {
  return samples_ == 0 ? 0.0 : sample_abs_max_.mean(samples_);
}

double TensorStatistics::bin_width() const noexcept { return std::ldexp(1.0, exponent_) / bins_; }

bool TensorStatistics::operator==(const TensorStatistics& other) const noexcept {
  return bins_ == other.bins_ && exponent_ == other.exponent_ && count_ == other.count_ &&
         samples_ == other.samples_ && min_ == other.min_ && max_ == other.max_ &&
         sample_abs_max_ == other.sample_abs_max_ && counts_ == other.counts_;
}

}  // namespace qslim
