// SPDX-License-Identifier: Apache-2.0
//
// DepthwiseRows: whole output rows of a 3x3 or 5x5 kernel without dilation, the work of one call of a kernel
// that shares what it loads and interleaves between neighbouring outputs.
//
//   acc[row, i, c] = start[c] + sum of x[row * stride + kh][first_column + i * stride + kw, c] * w[kh, kw, c]
//   r[row, i, c]   = float(acc[row, i, c]) * multiplier[c] + bias[c]     two roundings
//
// Columns outside of [0, columns) hold `outside`; rows outside the image point to memory that holds it.
//
// Channels come in blocks of 64 lanes. What is left of them in the last block, 17 to 32 or up to 16, fills
// the lanes with 2 or 4 parts: the same channels of as many output rows (or pairs of rows, 3x3 of stride 1).
//
//   weights                  [block][step][vector][lane] groups of 4 bytes: taps of one channel, in the order
//                            of row_tap(). Channels lie in the order of column_at(), packed, repeated for
//                            every part; those past the last one hold zeros.
//   start, multiplier, bias  one per lane of the blocks
//
// Included by per-ISA files: plain declarations only.
#pragma once

#include "qslim/kernels/conv_blocks/depthwise_span.h"

namespace qslim {

struct DepthwiseRows {
  static constexpr std::size_t kMostRows = 8, kBlock = 64;

  std::size_t side = 3, stride = 1;
  std::size_t rows = 0;  // of output, up to kMostRows
  std::size_t pixels = 0, channels = 0;
  std::size_t columns = 0;
  std::ptrdiff_t first_column = 0;
  int outside = 0;
  // [(rows - 1) * stride + side], each at column 0 and readable for 64 bytes past its last channel.
  const unsigned char* const* x = nullptr;
  std::size_t x_step = 0;  // bytes
  const void* weights = nullptr;
  const std::int32_t* start = nullptr;
  const float* multiplier = nullptr;
  const float* bias = nullptr;
  unsigned char* const* y = nullptr;  // [rows]
  std::size_t y_step = 0;             // bytes
};

// Return how many parts a block has of which `channels` remain.
static constexpr std::size_t row_parts(std::size_t channels) {
  return channels > 32 ? 1 : channels > 16 ? 2 : 4;
}

static constexpr std::size_t row_steps(std::size_t side, std::size_t stride) {
  return side == 5 ? 7 : stride == 1 ? 6 : 3;
}

// The tap, kh * side + kw, that byte `i` of a step's groups multiplies.
//   3x3, stride 1  a column's rows 0 to 3. Steps 0 to 2: columns for the upper output row; 3 to 5: for the
//                  lower one, whose rows are 1 to 3
//   3x3, stride 2  rows 0 and 1 of the last two columns (step 0); of the two before, of which the first does
//                  not count (1); row 2 of these four (2)
//   5x5            a column's rows 0 to 3 (steps 0 to 4); row 4 of columns 0 to 3 (5), and of the last one
//                  (6), which the four columns up to it or the one behind it bring
static constexpr TapEntry row_tap(std::size_t side, std::size_t stride, std::size_t step, std::size_t i) {
  if (side == 5) {
    if (step < 5) return {i * 5 + step, true};
    return step == 5 ? TapEntry{20 + i, true} : TapEntry{24, i == (stride == 1 ? 3u : 2u)};
  }
  if (stride == 1) {
    const std::size_t lower = step / 3;
    const bool counts = i >= lower && i < lower + 3;
    return {counts ? (i - lower) * 3 + step % 3 : 0, counts};
  }
  switch (step) {
    case 0: return {i / 2 * 3 + 1 + i % 2, true};
    case 1: return {i / 2 * 3, i % 2 == 1};
    default: return {i == 0 ? 0 : 5 + i, i != 0};
  }
}

}  // namespace qslim
