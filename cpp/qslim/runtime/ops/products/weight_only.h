// SPDX-License-Identifier: Apache-2.0
//
// Matrix products of float data with a constant weight of small integers: the weight stays in integers.
#pragma once

#include "qslim/runtime/lowering/compiler.h"

namespace qslim::runtime {

// Return true if the product of `x` with the constant matrix `weight` computes in float32 while the weight is
// stored in integers whose scales run along the output channels: [K, N], or [N, K] if it is transposed.
bool is_weight_only(const Compiler& compiler, int x, int weight, bool is_transposed);

// Emit such a product, with its bias, clamp and the operators that can be fused behind it.
void emit_weight_only(Compiler& compiler, const Node& node, bool is_transposed, int bias);

}  // namespace qslim::runtime
