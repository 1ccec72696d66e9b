// SPDX-License-Identifier: Apache-2.0
#include "qslim/runtime/lowering/broadcasting.h"

#include <algorithm>
#include <string>
#include <unordered_map>

#include "qslim/kernels/typed_elementwise/typed_elementwise.h"
#include "qslim/runtime/lowering/conversions.h"

namespace qslim::runtime {
namespace {

const std::unordered_map<std::string, TypedOp>& typed_operators() {
  static const auto& kOps = *new std::unordered_map<std::string, TypedOp>{
      {"Add", TypedOp::kAdd},         {"And", TypedOp::kAnd},
      {"Div", TypedOp::kDiv},         {"Equal", TypedOp::kEqual},
      {"Greater", TypedOp::kGreater}, {"GreaterOrEqual", TypedOp::kGreaterOrEqual},
      {"Less", TypedOp::kLess},       {"LessOrEqual", TypedOp::kLessOrEqual},
      {"Max", TypedOp::kMax},         {"Min", TypedOp::kMin},
      {"Mod", TypedOp::kMod},         {"Mul", TypedOp::kMul},
      {"Or", TypedOp::kOr},           {"Sub", TypedOp::kSub},
      {"Xor", TypedOp::kXor}};
  return kOps;
}

}  // namespace

void require_same_types(const InferContext& context, std::size_t a, std::size_t b) {
  QSLIM_REQUIRE(context.input(a).dtype == context.input(b).dtype, context.node().op_type, " '",
                context.node().label, "': operands of one type are supported, got ",
                name_of(context.input(a).dtype), " and ", name_of(context.input(b).dtype));
}

Dims broadcast_dims(const InferContext& context, const Dims& a, const Dims& b) {
  Dims result(std::max(a.size(), b.size()), 1);
  for (std::size_t i = 0; i < result.size(); ++i) {
    const std::int64_t x = i < a.size() ? a[a.size() - 1 - i] : 1, y = i < b.size() ? b[b.size() - 1 - i] : 1;
    QSLIM_REQUIRE(x == y || x == 1 || y == 1, context.node().op_type, " '", context.node().label,
                  "': shapes ", text_of(a), " and ", text_of(b), " do not broadcast");
    result[result.size() - 1 - i] = x == 1 ? y : x;
  }
  return result;
}

bool images_broadcast_apart(const InferContext& context) {
  std::int64_t rank = 0;
  for (std::size_t i = 0; i < context.input_count(); ++i) {
    if (context.has_input(i)) rank = std::max(rank, context.rank(i));
  }
  for (std::size_t i = 0; i < context.input_count(); ++i) {
    if (context.has_input(i) && context.depends_on_input(i) && context.rank(i) != rank) return false;
  }
  return true;
}

void emit_typed_binary(Compiler& compiler, const Node& node) {
  const DType dtype = compiler.facts(node.inputs[0]).dtype;
  const auto op = typed_operators().find(node.op_type);
  const bool is_arithmetic = op != typed_operators().end() && op->second >= TypedOp::kAdd;
  QSLIM_REQUIRE(node.inputs.size() == 2 && op != typed_operators().end() &&
                    (!is_arithmetic || (is_integer(dtype) && compiler.facts(node.inputs[1]).dtype == dtype)),
                node.op_type, " '", node.label, "': is not supported on ", name_of(dtype), " data");
  const Value a = get_plain(compiler, node.inputs[0]), b = get_plain(compiler, node.inputs[1]);
  const ElementwiseExtents extents = broadcast_extents({as_shape(a.dims), as_shape(b.dims)});
  const Value to = compiler.define(node.outputs[0], Layout::kPlain, real_storage());
  Step step = compiler.step_for(node, "typed_binary", name_of(dtype));
  step.reads = {a.buffer, b.buffer};
  step.writes = {to.buffer};
  step.run = [=, kind = op->second, p = a.buffer, q = b.buffer, r = to.buffer](const Execution& e) {
    typed_binary(e.context, kind, dtype, extents, e.at<void>(p), e.at<void>(q), e.at<void>(r));
  };
  compiler.emit(std::move(step));
}

}  // namespace qslim::runtime
