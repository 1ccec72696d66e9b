// SPDX-License-Identifier: Apache-2.0
//
// Steps that move elements or change their type.
#pragma once

#include "qslim/runtime/compile/compiler.h"

namespace qslim::runtime {

// `extents` elements from one strided place to another; strides and offsets count elements.
struct Copy {
  Dims extents;
  Dims source_strides, target_strides;
  std::int64_t source_offset = 0, target_offset = 0;
};

// Row-major strides.
Dims strides_of(const Dims& dims);
// Strides of a value's logical axes in its memory.
Dims logical_strides(const Value& value);

void emit_copy(Compiler& compiler, Step step, const Value& from, const Value& to, const Copy& copy);

// All elements of `value` become `with`, rounded to its grid.
void emit_fill(Compiler& compiler, const Node& node, const Value& value, float with);

// Conversions between two forms of tensor `id`.
void emit_relayout(Compiler& compiler, int id, const Value& from, const Value& to);
void emit_retype(Compiler& compiler, int id, const Value& from, const Value& to);
void emit_quantize_to_channels_last(Compiler& compiler, int id, const Value& from, const Value& to);
// Rounds to the tensor's grid of more than 8 bits, in float32.
void emit_round_to_grid(Compiler& compiler, int id, const Value& value);
// From the caller's array.
void emit_copy_of_input(Compiler& compiler, int id, const Value& from, const Value& to);
// To the caller's array.
void emit_output(Compiler& compiler, int id, const Value& value, int target);

// An operand as bytes on the grid of tensor `result`, or as it is where that has none.
Value get_on_grid_of(Compiler& compiler, int operand, int result, Layout layout);

// For operators that compute in `computed` storage, whatever tensor `id` shall be stored as: where it goes,
// and, after the step that fills it, the rounding to its grid if that is another.
Value define_or_round_later(Compiler& compiler, int id, Layout layout, const Storage& computed);
void round_if_needed(Compiler& compiler, int id, const Value& value);

// Tensor `id` is `value` with other extents; rounds it if the tensor shall lie on another grid.
void emit_view(Compiler& compiler, const Node& node, int id, Layout layout, const Value& value);

// Reshape [N, g, C/g, H, W], Transpose of axes 1 and 2, Reshape back, as one step on channels-last memory.
// True if `node` begins such a pattern.
bool emit_channel_shuffle(Compiler& compiler, const Node& node);

}  // namespace qslim::runtime
