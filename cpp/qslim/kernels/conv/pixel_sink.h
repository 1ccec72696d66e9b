// SPDX-License-Identifier: Apache-2.0
//
// PixelSink: a function that takes the real-valued results of a convolution while they are in the cache, a
// few pixels at a time, instead of an output array: activation, residual addition and quantization happen
// there.
#pragma once

#include <cstddef>

namespace qslim {

struct PixelSink {
  const void* self = nullptr;
  // rows: [pixels, channels] contiguous. The pixels are first_pixel ... of the output counted as (n, oh, ow);
  // the channels are all of them. Called from several threads, each pixel once.
  void (*take)(const void* self, std::size_t first_pixel, std::size_t pixels, const float* rows) = nullptr;
};

}  // namespace qslim
