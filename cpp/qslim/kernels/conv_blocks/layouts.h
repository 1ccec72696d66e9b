// SPDX-License-Identifier: Apache-2.0
//
// How kernels of products want their weights packed; kernels.inc of the families has the numbers.
#pragma once

#include <cstddef>

namespace qslim {

// How a kernel wants B; see kernels.inc of the families.
struct GemmLayout {
  std::size_t lanes, max_vectors;
  std::size_t depth;  // elements of A in a step of 4 bytes
  bool packed_order;

  std::size_t widest_panel() const noexcept { return lanes * max_vectors; }
};

// How a kernel wants its weights; see kernels.inc of the families.
struct DepthwiseLayout {
  std::size_t lanes, vectors;
  std::size_t depth;  // taps in a step of 4 bytes
  bool packed_order;
};

}  // namespace qslim
