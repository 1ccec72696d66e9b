// SPDX-License-Identifier: Apache-2.0
//
// Operators on masks and integers: comparisons, logic, Where, Cast, and the arithmetic of integers that are
// data. Everything lies in plain order.
#include <algorithm>
#include <unordered_map>

#include "qslim/kernels/typed/typed.h"
#include "qslim/runtime/ops/logic_steps.h"
#include "qslim/runtime/ops/movement_steps.h"
#include "qslim/runtime/ops/registry.h"

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

std::vector<std::size_t> as_shape(const Dims& dims) { return {dims.begin(), dims.end()}; }

Value get_plain(Compiler& compiler, int id) {
  return compiler.facts(id).dtype == DType::kFloat32 ? compiler.get_real(id, Layout::kPlain)
                                                     : compiler.get(id, Layout::kPlain);
}

bool is_integer(DType dtype) { return dtype == DType::kInt32 || dtype == DType::kInt64; }

void require_same_types(const InferContext& context, std::size_t a, std::size_t b) {
  QSLIM_REQUIRE(context.input(a).dtype == context.input(b).dtype, context.node().op_type, " '",
                context.node().label, "': operands of one type are supported, got ",
                name_of(context.input(a).dtype), " and ", name_of(context.input(b).dtype));
}

void infer_comparison(InferContext& context) {
  require_same_types(context, 0, 1);
  const bool is_order = context.node().op_type != "Equal";
  context.require(!is_order || context.input(0).dtype != DType::kBool, "expected numbers, got bool");
  context.set_output(0, broadcast_dims(context, context.dims(0), context.dims(1)), DType::kBool);
}

void infer_logic(InferContext& context) {
  require_same_types(context, 0, 1);
  context.require(context.input(0).dtype == DType::kBool, "expected bool operands");
  context.set_output(0, broadcast_dims(context, context.dims(0), context.dims(1)), DType::kBool);
}

}  // namespace

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

void compile_typed_binary(Compiler& compiler, const Node& node) {
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

#define QSLIM_TYPED(Name, infer_function)                                                             \
  void infer_##Name(InferContext& context) { infer_function(context); }                               \
  void compile_##Name(Compiler& compiler, const Node& node) { compile_typed_binary(compiler, node); } \
  bool splits_##Name(const InferContext& context) { return images_broadcast_apart(context); }

QSLIM_TYPED(And, infer_logic)
QSLIM_TYPED(Equal, infer_comparison)
QSLIM_TYPED(Greater, infer_comparison)
QSLIM_TYPED(GreaterOrEqual, infer_comparison)
QSLIM_TYPED(Less, infer_comparison)
QSLIM_TYPED(LessOrEqual, infer_comparison)
QSLIM_TYPED(Or, infer_logic)
QSLIM_TYPED(Xor, infer_logic)

void infer_Not(InferContext& context) {
  context.require(context.input(0).dtype == DType::kBool, "expected a bool operand");
  context.set_output(0, context.dims(0), DType::kBool);
}
bool splits_Not(const InferContext&) { return true; }
void compile_Not(Compiler& compiler, const Node& node) {
  const Value from = compiler.get(node.inputs[0], Layout::kPlain);
  const Value to = compiler.define(node.outputs[0], Layout::kPlain, real_storage());
  Step step = compiler.step_for(node, "typed_binary", "bool");
  step.reads = {from.buffer};
  step.writes = {to.buffer};
  const ElementwiseExtents extents = broadcast_extents({as_shape(from.dims), {1}});
  step.run = [extents, p = from.buffer, q = to.buffer](const Execution& e) {
    const std::uint8_t zero = 0;  // not x is x == 0
    typed_binary(e.context, TypedOp::kEqual, DType::kBool, extents, e.at<void>(p), &zero, e.at<void>(q));
  };
  compiler.emit(std::move(step));
}

void infer_Where(InferContext& context) {
  require_same_types(context, 1, 2);
  context.require(context.input(0).dtype == DType::kBool, "expected a bool condition");
  const Dims values = broadcast_dims(context, context.dims(1), context.dims(2));
  context.set_output(0, broadcast_dims(context, context.dims(0), values), context.input(1).dtype);
}
bool splits_Where(const InferContext& context) { return images_broadcast_apart(context); }
void compile_Where(Compiler& compiler, const Node& node) {
  const int y = node.outputs[0];
  const Value condition = compiler.get(node.inputs[0], Layout::kPlain);
  const Value a = get_plain(compiler, node.inputs[1]), b = get_plain(compiler, node.inputs[2]);
  const ElementwiseExtents extents =
      broadcast_extents({as_shape(condition.dims), as_shape(a.dims), as_shape(b.dims)});
  const Value to = define_or_round_later(compiler, y, Layout::kPlain, real_storage());
  const std::size_t size = size_of(to.dtype);
  Step step = compiler.step_for(node, "typed_where", name_of(to.dtype));
  step.reads = {condition.buffer, a.buffer, b.buffer};
  step.writes = {to.buffer};
  step.run = [=, c = condition.buffer, p = a.buffer, q = b.buffer, r = to.buffer](const Execution& e) {
    typed_where(e.context, size, extents, e.at<const std::uint8_t>(c), e.at<void>(p), e.at<void>(q),
                e.at<void>(r));
  };
  compiler.emit(std::move(step));
  round_if_needed(compiler, y, to);
}

// `to` is ONNX's TensorProto.DataType.
void infer_Cast(InferContext& context) {
  DType to = DType::kFloat32;
  switch (context.attributes.integer("to", 1)) {
    case 1: to = DType::kFloat32; break;
    case 2: to = DType::kUint8; break;
    case 3: to = DType::kInt8; break;
    case 6: to = DType::kInt32; break;
    case 7: to = DType::kInt64; break;
    case 9: to = DType::kBool; break;
    default: context.require(false, "casts to float32, int32, int64, int8, uint8 and bool are supported");
  }
  context.set_output(
      0, TensorFacts{context.dims(0), to, is_integer(to) ? context.input(0).integers : std::nullopt});
}
bool splits_Cast(const InferContext&) { return true; }
void compile_Cast(Compiler& compiler, const Node& node) {
  const int x = node.inputs[0], y = node.outputs[0];
  const DType source = compiler.facts(x).dtype, target = compiler.facts(y).dtype;
  if (source == target) {
    const Layout layout = compiler.layout_of(x);
    emit_view(compiler, node, y, layout, compiler.get(x, layout));
    return;
  }
  const Value from = get_plain(compiler, x);
  const Value to = target == DType::kFloat32
                       ? define_or_round_later(compiler, y, Layout::kPlain, real_storage())
                       : compiler.define(y, Layout::kPlain, real_storage());
  Step step = compiler.step_for(node, "typed_cast", concatenate(name_of(source), "->", name_of(target)));
  step.reads = {from.buffer};
  step.writes = {to.buffer};
  const auto count = as_size(element_count(from.dims));
  step.run = [=, p = from.buffer, q = to.buffer](const Execution& e) {
    typed_cast(e.context, count, source, e.at<void>(p), target, e.at<void>(q));
  };
  compiler.emit(std::move(step));
  if (target == DType::kFloat32) round_if_needed(compiler, y, to);
}

void infer_Mod(InferContext& context) {
  require_same_types(context, 0, 1);
  context.require(is_integer(context.input(0).dtype) && context.attributes.integer("fmod", 0) == 0,
                  "is supported on int32 and int64, with fmod = 0");
  TensorFacts facts{broadcast_dims(context, context.dims(0), context.dims(1)), context.input(0).dtype,
                    std::nullopt};
  const auto &a = context.input(0).integers, &b = context.input(1).integers;
  if (a && b && a->size() == 1 && b->size() == 1 && (*b)[0] > 0) {  // an extent
    const std::int64_t rest = (*a)[0] % (*b)[0];
    facts.integers = std::vector<std::int64_t>{rest < 0 ? rest + (*b)[0] : rest};
  }
  context.set_output(0, std::move(facts));
}
bool splits_Mod(const InferContext& context) { return images_broadcast_apart(context); }
void compile_Mod(Compiler& compiler, const Node& node) { compile_typed_binary(compiler, node); }

}  // namespace qslim::runtime
