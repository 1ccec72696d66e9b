// SPDX-License-Identifier: Apache-2.0
//
// The orders in which kernels of products read their packed weights; kernels.inc of the families has the
// numbers.
#pragma once

#include <cstddef>

namespace qslim {

// The order of B in a matrix kernel.
struct GemmLayout {
  std::size_t lanes, max_vectors;
  std::size_t depth;  // elements of A in a step of 4 bytes
  bool packed_order;
  // What the kernel takes from each byte of A to make it signed. It changes no sum: `start` has it back, times
  // the sum of the weights, and int32 wraps.
  int byte_shift = 0;

  std::size_t widest_panel() const noexcept { return lanes * max_vectors; }
};

// The order of the weights in a depthwise kernel.
struct DepthwiseLayout {
  std::size_t lanes, vectors;
  std::size_t depth;  // taps in a step of 4 bytes
  bool packed_order;
};

}  // namespace qslim
