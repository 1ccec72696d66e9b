// SPDX-License-Identifier: Apache-2.0
//
// Steps that pool images: those of the pooling operators, and of the mean over H and W.
//
// Maxima of quantized tensors are those of their bytes, which have the order of the values; averages are
// integer sums.
#pragma once

#include "qslim/runtime/lowering/compiler.h"
#include "qslim/runtime/lowering/window.h"

namespace qslim::runtime {

// The window that covers images of extents x.
Window whole_image(const Dims& x);

void emit_max_pool(Compiler& compiler, const Node& node, const Window& window);
// `image_dims`: [N, C, H, W] of the node's input.
void emit_average_pool(Compiler& compiler, const Node& node, const Window& window, bool count_includes_pad,
                       const Dims& image_dims);
// The average over H and W of the node's input, [N, C, H, W], to its output, which may lack the last two
// axes.
void emit_global_average(Compiler& compiler, const Node& node);

}  // namespace qslim::runtime
