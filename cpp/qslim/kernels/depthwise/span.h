// SPDX-License-Identifier: Apache-2.0
//
// What the depthwise kernels of both element types work on: outputs that lie beside each other in one row.
//
//   acc[i, c] = bias[c] + sum over taps t of x[t][i * x_step + c] * w[t, c]
//
// Taps are plain pointers: any kernel size, stride and dilation is the same to a kernel. Those outside the
// image point to memory that holds what lies outside.
// Entries of x come in steps of `depth`, in the order of tap_order(): a 3x3 kernel of integers in pairs or
// quadruples of rows, so that a column's bytes, once interleaved, serve every output that sees the column.
// weights  [channel block][step][vector][lane] groups of 4 bytes: `depth` consecutive taps of one channel.
//          The channels of a block lie in the order of column_at(), those past the last one hold zeros.
// bias, multiplier   one per channel of the blocks, in the order of the weights.
// Included by per-ISA files: plain declarations only.
#pragma once

#include <cstddef>
#include <cstdint>

#include "qslim/kernels/gemm/block.h"

namespace qslim {

struct DepthwiseSpan {
  std::size_t pixels = 0, channels = 0;
  std::size_t taps = 0;
  std::size_t steps = 0;
  // Not 0 if the kernel is 3x3 and every column lies inside the image: from one column to the next, in bytes.
  // Where it equals x_step, column k + 1 of an output is column k of the next.
  std::size_t column_step = 0;
  const unsigned char* const* x = nullptr;  // [steps * depth]; readable for 64 bytes past the last channel
  std::size_t x_step = 0;                   // bytes
  const void* weights = nullptr;
  const void* bias = nullptr;         // int32 or float
  const float* multiplier = nullptr;  // null for float
  unsigned char* y = nullptr;
  std::size_t y_step = 0;  // bytes
};

// Which tap entry `i` of x holds, as kh * KW + kw.
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
  if (kernel_h == 3 && kernel_w == 3 && depth == 4) {  // per column: rows 0, 1, 2 and none
    return {i % 4 < 3 ? i % 4 * 3 + i / 4 : 6 + i / 4, i % 4 < 3};
  }
  if (kernel_h == 3 && kernel_w == 3 && depth == 2) {  // per column: rows 0, 1; then row 2: 0 1, none 2
    if (i < 6) return {i % 2 * 3 + i / 2, true};
    return {i == 6 ? std::size_t{6} : i == 9 ? std::size_t{8} : std::size_t{7}, i != 8};
  }
  return {i < taps ? i : taps - 1, i < taps};
}

}  // namespace qslim
