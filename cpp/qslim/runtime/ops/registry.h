// SPDX-License-Identifier: Apache-2.0
//
// Operators by name. One row in ops.inc declares an operator; its family's file defines
//   infer_<Op>      extents and element types of the outputs
//   compile_<Op>    the steps that compute them
//   splits_<Op>     true if images (axis 0) do not meet in it, so that a batch may run image by image
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "qslim/runtime/lowering/infer_context.h"

namespace qslim::runtime {

class Compiler;

// The effect of an operator on elements. Moving them commutes with quantization, which keeps their order.
enum class Moves : std::uint8_t {
  kComputes,        // new values
  kMoves,           // every element of the result is one of operand 0's
  kMovesAll,        // of any operand's
  kMovesIfNearest,  // of operand 0's if attribute mode is "nearest", else new values
  kPads,            // of operand 0's, or a constant
};

// "computes", "moves", "moves_all", "moves_if_nearest", "pads".
const char* name_of(Moves moves) noexcept;

struct Operator {
  const char* name;
  Moves moves;
  void (*infer)(InferContext& context);
  void (*compile)(Compiler& compiler, const Node& node);
  bool (*splits)(const InferContext& context);
};

// Return the operator of that name, or null if there is none.
const Operator* find_operator(const Node& node);

// Return the names of all operators, sorted.
std::vector<std::string> operator_names();
// Return the same, each with the name of its effect on elements.
std::vector<std::pair<std::string, std::string>> operator_traits();

#define QSLIM_OP(Name, moves)                                \
  void infer_##Name(InferContext& context);                  \
  void compile_##Name(Compiler& compiler, const Node& node); \
  bool splits_##Name(const InferContext& context);
#include "qslim/runtime/ops/ops.inc"
#undef QSLIM_OP

}  // namespace qslim::runtime
