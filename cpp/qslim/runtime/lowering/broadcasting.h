// SPDX-License-Identifier: Apache-2.0
//
// Broadcasting operands: extents, batches, and steps on elements of any type.
#pragma once

#include <cstddef>
#include <vector>

#include "qslim/runtime/lowering/compiler.h"

namespace qslim::runtime {

inline std::vector<std::size_t> as_shape(const Dims& dims) { return {dims.begin(), dims.end()}; }

inline bool is_integer(DType dtype) { return dtype == DType::kInt32 || dtype == DType::kInt64; }

// Return the extents of the result; InvalidArgument names the node if the operands do not broadcast.
Dims broadcast_dims(const InferContext& context, const Dims& a, const Dims& b);

// Return true if operands are of the full rank, or without axis 0, so that images stay apart.
bool images_broadcast_apart(const InferContext& context);

// InvalidArgument names the node if inputs a and b differ in type.
void require_same_types(const InferContext& context, std::size_t a, std::size_t b);

// Emit a comparison, logic, or arithmetic of integers: two operands of one type, in plain order.
void emit_typed_binary(Compiler& compiler, const Node& node);

}  // namespace qslim::runtime
