// SPDX-License-Identifier: Apache-2.0
//
// Walk: the extents of a run of an elementwise program, axes merged as far as all operands allow. Part of
// elementwise.cc; nothing else includes this.
#pragma once

#include <cstddef>

#include "qslim/kernels/elementwise/elementwise.h"

namespace qslim {

// Axes are moved to the inner end.
struct ElementwiseWalk {
  std::size_t operands = 0;
  std::size_t extent[ElementwiseExtents::kAxes];
  // The last one is the result's.
  std::ptrdiff_t strides[Elementwise::kMaxOperands + 1][ElementwiseExtents::kAxes];
};

// Merge neighbouring axes where every stride continues; with `keep_rows` the innermost one stays as it is.
ElementwiseWalk walk_of(const ElementwiseExtents& extents, std::size_t operands, bool keep_rows) noexcept;

// Return the number of rows: of places along all axes but the innermost.
std::size_t rows_of(const ElementwiseWalk& walk) noexcept;

}  // namespace qslim
