// SPDX-License-Identifier: Apache-2.0
//
// Histograms of a tensor: the checked entry points.
//
//   histogram         `bins` bins of equal width on [lo, hi], as numpy.histogram counts float32 data: edges are
//                     float(lo + i * (hi - lo) / bins), bins are closed below, the last one also above;
//                     numbers outside of them are left out, and so is NaN
//   SignedHistogram   the bins of TensorStatistics: |x| on [0, 2^exponent), `bins` bins for each sign; every x
//                     must be finite and |x| < 2^exponent
// Counts are integers and do not depend on the order: same result on every instruction set and thread count.
#pragma once

#include <cstdint>
#include <vector>

#include "qslim/core/context.h"
#include "qslim/core/span.h"

namespace qslim {

std::vector<std::uint64_t> histogram(Context& context, Span<const float> x, std::uint32_t bins, float lo,
                                     float hi);
std::vector<float> histogram_edges(std::uint32_t bins, float lo, float hi);

inline constexpr int kMinExponent = -100;  // smaller ranges share it: bins_per_unit stays far from overflow
inline constexpr int kMaxExponent = 128;   // every finite float is below 2^128

// Counts in bins whose width is a power of two, one block after another; not thread-safe, one per thread.
class SignedHistogram {
 public:
  SignedHistogram(Isa isa, std::uint32_t bins);

  void add(std::size_t n, const float* x, int exponent);
  // Add the counts since the last call to totals [2 * bins]: x >= 0 first, then x < 0.
  void flush(std::uint64_t* totals);

 private:
  using Kernel = void (*)(std::size_t n, const float* x, float bins_per_unit, std::uint32_t bins,
                          std::uint32_t* counts) noexcept;
  Kernel kernel_;
  std::uint32_t bins_;
  std::vector<std::uint32_t> counts_;
};

}  // namespace qslim
