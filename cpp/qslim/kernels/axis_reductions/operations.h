// SPDX-License-Identifier: Apache-2.0
//
// What a reduction over an axis computes; axis_reductions.h explains. Included by per-ISA files: plain
// declarations only.
#pragma once

#include <cstdint>

namespace qslim {

enum class ReduceOp : std::uint8_t { kSum, kMean, kMax, kMin, kProd, kSumSquares };

}  // namespace qslim
