// SPDX-License-Identifier: Apache-2.0
//
// Operators by name. One line in ops.inc declares an operator; its file defines
//   infer_<Op>      extents of the outputs
//   compile_<Op>    the steps that compute them
//   splits_<Op>     whether images (axis 0) do not meet in it, so that a batch may run image by image
#pragma once

#include <string>
#include <vector>

#include "qslim/runtime/compile/inference.h"

namespace qslim::runtime {

class Compiler;

struct Operator {
  const char* name;
  void (*infer)(InferContext& context);
  void (*compile)(Compiler& compiler, const Node& node);
  bool (*splits)(const InferContext& context);
};

// Null if there is none of that name.
const Operator* find_operator(const Node& node);

// Of all operators, sorted.
std::vector<std::string> operator_names();

#define QSLIM_OP(Name)                                       \
  void infer_##Name(InferContext& context);                  \
  void compile_##Name(Compiler& compiler, const Node& node); \
  bool splits_##Name(const InferContext& context);
#include "qslim/runtime/ops/ops.inc"
#undef QSLIM_OP

}  // namespace qslim::runtime
