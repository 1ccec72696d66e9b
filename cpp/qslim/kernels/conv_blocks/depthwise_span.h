// SPDX-License-Identifier: Apache-2.0
//
// DepthwiseSpan: neighbouring outputs of one row, the work of one call of a depthwise kernel of either
// element type.
//
//   acc[i, c] = start[c] + sum over taps t of x[t][i * x_step + c] * w[t, c]
//   r[i, c]   = float(acc[i, c]) * multiplier[c] + bias[c]          of int32: two roundings
//   r[i, c]   = acc[i, c] + bias[c]                                 of float, where start is +0
//
// Taps are plain pointers: any kernel size, stride and dilation is the same to a kernel. Those outside the
// image point to memory that holds the padding.
// Entries of x come in steps of `depth`, in the order of tap_order(): a 3x3 or 5x5 kernel of integers in
// pairs of rows, so that a column's elements, once interleaved, serve every output that sees the column.
//
//   weights                  [channel block][step][vector][lane] groups of 4 bytes: `depth` consecutive taps of
//                            one channel. The channels of a block lie in the order of column_at(), those past
//                            the last one hold zeros.
//   start, multiplier, bias  one per channel of the blocks, in the order of the weights
//
// Included by per-ISA files: plain declarations only.
#pragma once

#include <cstddef>
#include <cstdint>

#include "qslim/kernels/conv_blocks/gemm_block.h"

namespace qslim {

struct DepthwiseSpan {
  std::size_t pixels = 0, channels = 0;
  std::size_t taps = 0;
  std::size_t steps = 0;
  // 3 or 5 if the kernel is 3x3 or 5x5 and every column lies inside the image, otherwise 0. Then column_step
  // is from one column to the next, in bytes; where it equals x_step, column k + 1 of an output is column k
  // of the next.
  std::size_t inner_side = 0;
  std::size_t column_step = 0;
  const unsigned char* const* x = nullptr;  // [steps * depth]; readable for 64 bytes past the last channel
  std::size_t x_step = 0;                   // bytes
  const void* weights = nullptr;
  const std::int32_t* start = nullptr;  // null for float
  const float* multiplier = nullptr;    // null for float
  const float* bias = nullptr;
  unsigned char* y = nullptr;
  std::size_t y_step = 0;  // bytes
};

// The tap, kh * KW + kw, that an entry of x holds.
struct TapEntry {
  std::size_t tap;
  bool counts;  // false: its weight is zero
};

static constexpr std::size_t tap_steps(std::size_t kernel_h, std::size_t kernel_w, std::size_t depth) {
  return (kernel_h * kernel_w + depth - 1) / depth;
}

static constexpr TapEntry tap_order(std::size_t i, std::size_t kernel_h, std::size_t kernel_w,
                                    std::size_t depth) {
  const std::size_t taps = kernel_h * kernel_w;
  if (kernel_h == kernel_w && (kernel_h == 3 || kernel_h == 5) && depth == 2) {
    // per column: rows 0 1 (2 3); then the last row: 0 1, (2 3,) none and the last
    const std::size_t last_row = taps - kernel_w;
    if (i < last_row) return {i % (kernel_h - 1) * kernel_w + i / (kernel_h - 1), true};
    return {i < taps ? i : taps - 1, i != taps - 1};
  }
  return {i < taps ? i : taps - 1, i < taps};
}

}  // namespace qslim
