// SPDX-License-Identifier: Apache-2.0
//
// KernelRun: input and output of one run of a convolution, and the kernel that computes a block of it.
#pragma once

#include <cstddef>

#include "qslim/kernels/conv/pixel_sink.h"

namespace qslim {

template <class Block>
struct KernelRun {
  const void* x = nullptr;
  unsigned char* y = nullptr;
  std::size_t y_element_bytes = 0;
  const unsigned char* residual = nullptr;  // of a product of bytes: added, in the places of y
  PixelSink sink;                           // instead of y, if it has a function
  void (*multiply)(const void* self, const Block& block) = nullptr;
  const void* self = nullptr;
};

}  // namespace qslim
