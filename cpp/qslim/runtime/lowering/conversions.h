// SPDX-License-Identifier: Apache-2.0
//
// Steps that move elements or change their type.
#pragma once

#include "qslim/runtime/lowering/compiler.h"

namespace qslim::runtime {

// Emit a copy of `extents` elements from one strided place to another; strides and offsets count elements.
struct Copy {
  Dims extents;
  Dims source_strides, target_strides;
  std::int64_t source_offset = 0, target_offset = 0;
};

// A tensor as [outer, axis, inner]: the extents in front of, at and behind an axis.
struct Around {
  std::size_t outer = 1, axis = 1, inner = 1;
};
Around around(const Dims& dims, std::size_t axis);

// Row-major strides.
Dims strides_of(const Dims& dims);
// Strides of a value's logical axes in its memory.
Dims logical_strides(const Value& value);

void emit_copy(Compiler& compiler, Step step, const Value& from, const Value& to, const Copy& copy);

// All elements of `value` become `with`, quantized if the value is.
void emit_fill(Compiler& compiler, const Node& node, const Value& value, float with);

// Conversions between two forms of tensor `id`.
void emit_relayout(Compiler& compiler, int id, const Value& from, const Value& to);
void emit_retype(Compiler& compiler, int id, const Value& from, const Value& to);
void emit_quantize_to_channels_last(Compiler& compiler, int id, const Value& from, const Value& to);
// Rounds to the tensor's quantization parameters of more than 8 bits, in float32.
void emit_fake_quant(Compiler& compiler, int id, const Value& value);
// From the caller's array.
void emit_copy_of_input(Compiler& compiler, int id, const Value& from, const Value& to);
// To the caller's array.
void emit_output(Compiler& compiler, int id, const Value& value, int target);
// Shows the value as that output.
void emit_show(Compiler& compiler, int id, const Value& value, std::size_t output);

// The tensor in plain order, in its own type: float32 if it is quantized.
Value get_plain(Compiler& compiler, int id);

// An operand as bytes with the quantization parameters of tensor `result`, or as it is where that has none.
Value get_on_grid_of(Compiler& compiler, int operand, int result, Layout layout);

// The result of an operator that computes in `computed` storage while tensor `id` has another: the buffer,
// and, after the step that fills it, the rounding if its quantization parameters are others.
Value define_or_round_later(Compiler& compiler, int id, Layout layout, const Storage& computed);
void round_if_needed(Compiler& compiler, int id, const Value& value);

// Tensor `id` is `value` with other extents; requantizes it if the tensor has other quantization parameters.
void emit_view(Compiler& compiler, const Node& node, int id, Layout layout, const Value& value);

}  // namespace qslim::runtime
