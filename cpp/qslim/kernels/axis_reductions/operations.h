// SPDX-License-Identifier: Apache-2.0
//
// Operations of reductions over an axis; axis_reductions.h defines them. Included by per-ISA files: plain
// declarations only.
#pragma once

#include <cstdint>

namespace qslim {

enum class ReduceOp : std::uint8_t { kSum, kMean, kMax, kMin, kProd, kSumSquares };

}  // namespace qslim
