// SPDX-License-Identifier: Apache-2.0
//
// What the depthwise kernels of both element types work on: outputs that lie beside each other in one row.
//
//   acc[i, c] = bias[c] + sum over taps t of x[t][i * x_step + c] * w[t, c]
//
// Taps are plain pointers: any kernel size, stride and dilation is the same to a kernel. Those outside the
// image point to memory that holds what lies outside.
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
  std::size_t steps = 0;                    // taps / depth, rounded up
  const unsigned char* const* x = nullptr;  // [steps * depth]; readable for 64 bytes past the last channel
  std::size_t x_step = 0;                   // bytes
  const void* weights = nullptr;
  const void* bias = nullptr;         // int32 or float
  const float* multiplier = nullptr;  // null for float
  unsigned char* y = nullptr;
  std::size_t y_step = 0;  // bytes
};

}  // namespace qslim
