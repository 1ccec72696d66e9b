// SPDX-License-Identifier: Apache-2.0
//
// The bin of one number in a histogram: the specification of the histogram kernels.
//
//   linear_bin  the largest i < bins with edges[i] <= x, for lo <= x <= hi; else, and for NaN, `bins` (not
//               counted). numpy.histogram counts the same for float32: bins are closed below, the last one also
//               above.
//   signed_bin  min(trunc(|x| * bins_per_unit), bins - 1), plus `bins` for x < 0; x finite.
//               bins and bins_per_unit are powers of two, so the product is exact and halving the resolution
//               is a shift of the index: growing the range by merging pairs of bins loses nothing.
#pragma once

#include <cstdint>

namespace qslim::reference {

std::uint32_t linear_bin(float x, std::uint32_t bins, const float* edges) noexcept;
std::uint32_t signed_bin(float x, float bins_per_unit, std::uint32_t bins) noexcept;

}  // namespace qslim::reference
