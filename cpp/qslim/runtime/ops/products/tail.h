// SPDX-License-Identifier: Apache-2.0
//
// Tail: the bias and the clamp that follow a product and become part of its kernel.
#pragma once

#include <limits>
#include <string>
#include <vector>

#include "qslim/runtime/lowering/compiler.h"

namespace qslim::runtime {

// y = min(max(x + bias, lo), hi).
struct Tail {
  std::vector<float> bias;  // one per output channel, or empty
  float lo = -std::numeric_limits<float>::infinity();
  float hi = std::numeric_limits<float>::infinity();
  int result = kAbsent;  // the tensor behind the last fused node
  std::string names;     // of the fused nodes, as in "+Add+Relu"

  bool clamps() const noexcept {
    return lo != -std::numeric_limits<float>::infinity() || hi != std::numeric_limits<float>::infinity();
  }
};

// Fuse the nodes that follow `node` as long as each adds one constant per channel or clamps, and mark them
// done. `bias` is the constant that the node itself adds, or kAbsent. Channels lie `axes_behind` axes before
// the last.
Tail absorb_tail(Compiler& compiler, const Node& node, std::size_t channels, std::size_t axes_behind,
                 int bias);

}  // namespace qslim::runtime
