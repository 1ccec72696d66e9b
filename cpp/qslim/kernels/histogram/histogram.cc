// SPDX-License-Identifier: Apache-2.0
//
// Checks, dispatch and blocking of the histograms.
#include "qslim/kernels/histogram/histogram.h"

#include <algorithm>
#include <cmath>
#include <mutex>

#include "qslim/core/dispatch.h"
#include "qslim/kernels/histogram/table.h"

namespace qslim {
namespace {

constexpr std::size_t kMinPart = 1 << 18;               // elements worth a table of their own
constexpr std::size_t kMaxPart = std::size_t{1} << 31;  // counts are 32 bits wide
constexpr std::uint32_t kMaxBins = 1u << 24;

}  // namespace

std::vector<float> histogram_edges(std::uint32_t bins, float lo, float hi) {
  std::vector<float> edges(bins + std::size_t{1});
  const double step = (static_cast<double>(hi) - lo) / bins;
  for (std::uint32_t i = 0; i < bins; ++i) edges[i] = static_cast<float>(i * step + lo);
  edges[bins] = hi;
  return edges;
}

std::vector<std::uint64_t> histogram(Context& context, Span<const float> x, std::uint32_t bins, float lo,
                                     float hi) {
  QSLIM_REQUIRE(bins >= 1 && bins <= kMaxBins, "histogram: bins must be in [1, ", kMaxBins, "], got ", bins);
  QSLIM_REQUIRE(std::isfinite(lo) && std::isfinite(hi) && lo < hi,
                "histogram: lo must be below hi, both finite, got ", lo, " and ", hi);
  const std::vector<float> edges = histogram_edges(bins, lo, hi);
  const double width = static_cast<double>(hi) - lo;
  LinearBins b{lo, hi, static_cast<float>(bins / width), 1.0f, bins, edges.data()};
  // x - lo, bins_per_unit and their product are each rounded once (3 * 2^-24 of at most `bins`), an edge once
  // (2^-24 of its size); four times as much leaves room for the second order.
  const double size = std::max(std::fabs(lo), std::fabs(hi));
  const double doubt = bins * 0x1p-22 * (1.0 + size / width);
  if (doubt < 0.25 && std::isfinite(hi - lo) && std::isnormal(b.bins_per_unit))
    b.doubt = static_cast<float>(doubt);
  if (!std::isfinite(b.bins_per_unit)) b.bins_per_unit = 0;  // a range of subnormals: the edges decide alone

  const HistogramLinearFn kernel = best_kernel(kHistogramKernels, context.isa()).linear;
  std::vector<std::uint64_t> totals(bins, 0);
  std::mutex totals_mutex;
  const std::size_t parts =
      std::max(std::min(context.pool().num_threads(), x.size() / kMinPart), x.size() / kMaxPart + 1);
  context.pool().run(parts, [&](std::size_t part) {
    const std::size_t begin = x.size() / parts * part;
    const std::size_t end = part + 1 == parts ? x.size() : begin + x.size() / parts;
    std::vector<std::uint32_t> counts(2 * (bins + std::size_t{1}), 0);
    kernel(end - begin, x.data() + begin, b, counts.data());
    const std::lock_guard<std::mutex> lock(totals_mutex);
    for (std::uint32_t i = 0; i < bins; ++i) totals[i] += std::uint64_t{counts[i]} + counts[bins + 1 + i];
  });
  return totals;
}

SignedHistogram::SignedHistogram(Isa isa, std::uint32_t bins)
    : kernel_(best_kernel(kHistogramKernels, isa).signed_bins),
      bins_(bins),
      counts_(2 * (2 * std::size_t{bins} + kZeroSlots), 0) {
  QSLIM_REQUIRE(bins >= 64 && bins <= (1u << 14) && (bins & (bins - 1)) == 0,
                "bins must be a power of two in [64, 16384], got ", bins);
}

void SignedHistogram::add(std::size_t n, const float* x, int exponent) {
  QSLIM_DCHECK(n < kMaxPart && exponent >= kMinExponent && exponent <= kMaxExponent);
  kernel_(n, x, std::ldexp(static_cast<float>(bins_), -exponent), bins_, counts_.data());
}

void SignedHistogram::flush(std::uint64_t* totals) {
  const std::size_t stride = 2 * std::size_t{bins_} + kZeroSlots;
  for (std::size_t i = 0; i < 2 * std::size_t{bins_}; ++i)
    totals[i] += std::uint64_t{counts_[i]} + counts_[stride + i];
  for (std::size_t i = 0; i < kZeroSlots; ++i) {
    totals[0] += std::uint64_t{counts_[stride - 1 - i]} + counts_[2 * stride - 1 - i];
  }
  std::fill(counts_.begin(), counts_.end(), 0u);
}

}  // namespace qslim
