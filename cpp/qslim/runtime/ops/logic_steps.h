// SPDX-License-Identifier: Apache-2.0
//
// What operators of two broadcasting operands share, whatever their elements are.
#pragma once

#include "qslim/runtime/compile/compiler.h"

namespace qslim::runtime {

// The extents of the result; InvalidArgument names the node if the operands do not broadcast.
Dims broadcast_dims(const InferContext& context, const Dims& a, const Dims& b);

// Operands of the full rank, or without axis 0, keep images apart.
bool images_broadcast_apart(const InferContext& context);

// Comparisons and logic, and the arithmetic of integers.
void compile_typed_binary(Compiler& compiler, const Node& node);

}  // namespace qslim::runtime
