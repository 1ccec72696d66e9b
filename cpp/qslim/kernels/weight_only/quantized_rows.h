// SPDX-License-Identifier: Apache-2.0
//
// Rows of a table of small integers, looked up as floats: embeddings. The table stays as the model file has it.
//
//   y[i, j] = float(q[indices[i], j]) * scale[indices[i], j / group_size]
#pragma once

#include <cstddef>
#include <cstdint>

#include "qslim/core/context.h"
#include "qslim/core/span.h"

namespace qslim {

struct QuantizedRows {
  std::size_t rows = 0, width = 0;
  // int8 [rows, width], or where they are narrow [rows, ceil(width / 2)] bytes of two 4-bit integers each, in
  // two's complement, the lower half first.
  const std::uint8_t* integers = nullptr;
  bool is_narrow = false;
  const float* scale = nullptr;
  std::size_t scale_stride = 0;  // from row to row; 0: one scale
  std::size_t group_size = 0;    // 0: all of a row
};

// An index below 0 counts from the end; throws InvalidArgument where it is outside of [-rows, rows), before
// anything is written. y [indices.size(), width].
void gather_dequantized(Context& context, const QuantizedRows& table, Span<const std::int64_t> indices,
                        float* y);

}  // namespace qslim
