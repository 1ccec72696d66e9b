// SPDX-License-Identifier: Apache-2.0
//
// The order of every sum of a row, as reference/reduce.h defines it: blocks of kSumBlock elements, kSumLanes
// lanes in each. Included by per-ISA files: plain data only.
#pragma once

#include <cstddef>

namespace qslim {

inline constexpr std::size_t kSumBlock = 4096;
inline constexpr std::size_t kSumLanes = 16;

}  // namespace qslim
