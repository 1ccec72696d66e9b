// SPDX-License-Identifier: Apache-2.0
//
// Histograms without vector intrinsics; the fallback of every machine. Contract: kernels.h.
#include "qslim/kernels/histogram/kernels.h"

namespace qslim {

void histogram_linear_f32_scalar(std::size_t n, const float* x, const LinearBins& b,
                                 std::uint32_t* counts) noexcept {
  for (std::size_t i = 0; i < n; ++i) {
    std::uint32_t bin = b.bins;
    if (x[i] >= b.lo && x[i] <= b.hi) {
      const float position = (x[i] - b.lo) * b.bins_per_unit;
      bin = position < static_cast<float>(b.bins - 1) ? static_cast<std::uint32_t>(position) : b.bins - 1;
      while (x[i] < b.edges[bin]) --bin;
      while (bin + 1 < b.bins && x[i] >= b.edges[bin + 1]) ++bin;
    }
    ++counts[(i & 1) * (b.bins + 1) + bin];
  }
}

void histogram_signed_f32_scalar(std::size_t n, const float* x, float bins_per_unit, std::uint32_t bins,
                                 std::uint32_t* counts) noexcept {
  const float last = static_cast<float>(bins - 1);
  for (std::size_t i = 0; i < n; ++i) {
    const float magnitude = (x[i] < 0 ? -x[i] : x[i]) * bins_per_unit;
    std::uint32_t bin = magnitude < last ? static_cast<std::uint32_t>(magnitude) : bins - 1;
    bin += x[i] < 0 ? bins : 0;
    if (x[i] == 0) bin = 2 * bins + static_cast<std::uint32_t>(i % kZeroSlots);
    ++counts[(i & 1) * (2 * bins + kZeroSlots) + bin];
  }
}

}  // namespace qslim
