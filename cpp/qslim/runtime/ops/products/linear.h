// SPDX-License-Identifier: Apache-2.0
//
// What Conv, ConvTranspose, MatMul and Gemm share: constant weights packed once, bias and activation
// absorbed, int8 where the data and the weights are quantized.
//
// Semantics (int8): acc = sum of integer products. If nothing but a clamp follows until the result is rounded
// to its grid, that takes acc * (sx * sw / sy) + bias / sy; else the real value acc * (sx * sw) + bias goes
// through the following operators in float32.
#pragma once

#include <limits>
#include <string>
#include <vector>

#include "qslim/core/conv_geometry.h"
#include "qslim/runtime/lowering/compiler.h"

namespace qslim::runtime {

// Following nodes that become part of the kernel: y = min(max(x + bias, lo), hi).
struct Tail {
  std::vector<float> bias;  // one per output channel, or empty
  float lo = -std::numeric_limits<float>::infinity();
  float hi = std::numeric_limits<float>::infinity();
  int result = kAbsent;  // the tensor behind it all
  std::string names;

  bool clamps() const noexcept {
    return lo != -std::numeric_limits<float>::infinity() || hi != std::numeric_limits<float>::infinity();
  }
};

// `bias` is the constant that the node itself adds, or kAbsent. Channels lie `axes_behind` axes before the
// last.
Tail absorb_tail(Compiler& compiler, const Node& node, std::size_t channels, std::size_t axes_behind,
                 int bias);

// A constant as weights [OC, IC / groups, KH, KW].
struct Weights {
  int tensor = kAbsent;
  std::vector<std::size_t> order;  // where each weight is in the constant; empty: in the same order
  std::size_t channel_axis = 0;    // of the constant: the axis of the output channels
};

// One kernel call writes all of the result, or (ConvTranspose) an interleaved part that begins at `y_offset`.
struct LinearPart {
  std::string key;  // names the packed weights
  ConvGeometry geometry;
  ConvExtents extents;
  Weights weights;
  std::size_t y_offset = 0;
};

// Emits the steps of all parts. `x` is the data in channels-last (or [.., channels]) form.
void emit_linear(Compiler& compiler, const Node& node, int x, Layout layout, std::vector<LinearPart> parts,
                 Tail tail);

}  // namespace qslim::runtime
