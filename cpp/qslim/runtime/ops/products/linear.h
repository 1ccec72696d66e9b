// SPDX-License-Identifier: Apache-2.0
//
// Products with constant weights, of Conv, ConvTranspose, MatMul and Gemm: the weights are packed once, bias
// and activation are fused, and the product runs in int8 where the data and the weights are quantized.
//
// In int8, acc = sum of integer products. If nothing but a clamp follows before the result is quantized, it
// becomes acc * (sx * sw / sy) + bias / sy; else the real value acc * (sx * sw) + bias goes through the
// following operators in float32.
#pragma once

#include <string>
#include <vector>

#include "qslim/core/conv_geometry.h"
#include "qslim/runtime/lowering/chain.h"
#include "qslim/runtime/lowering/compiler.h"
#include "qslim/runtime/ops/products/tail.h"

namespace qslim::runtime {

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

// Emit the steps of all parts. `x` is the data in channels-last (or [.., channels]) form.
void emit_linear(Compiler& compiler, const Node& node, int x, Layout layout, std::vector<LinearPart> parts,
                 Tail tail);

// Emit a chain, called `names`, that reads what the steps of `node` computed.
void emit_chain(Compiler& compiler, const Node& node, const std::string& names, const Chain::Compiled& chain);

}  // namespace qslim::runtime
