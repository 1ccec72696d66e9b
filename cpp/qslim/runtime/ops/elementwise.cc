// SPDX-License-Identifier: Apache-2.0
//
// Unary and binary operators with broadcasting, and Cast. On floats they become chains; on integers they are
// computed at compile time, where they work out extents, or else by plain loops. The operators and their
// formulas are the rows of formulas/elementwise.inc.
#include <algorithm>
#include <cmath>

#include "qslim/kernels/typed_elementwise/typed_elementwise.h"
#include "qslim/runtime/lowering/broadcasting.h"
#include "qslim/runtime/lowering/chain.h"
#include "qslim/runtime/lowering/conversions.h"
#include "qslim/runtime/ops/registry.h"

namespace qslim::runtime {
namespace {

std::optional<std::int64_t> combine(const std::string& op, std::int64_t a, std::int64_t b) {
  std::int64_t r = 0;
  if (op == "Add") return __builtin_add_overflow(a, b, &r) ? std::nullopt : std::optional(r);
  if (op == "Sub") return __builtin_sub_overflow(a, b, &r) ? std::nullopt : std::optional(r);
  if (op == "Mul") return __builtin_mul_overflow(a, b, &r) ? std::nullopt : std::optional(r);
  if (op == "Div" && b != 0 && b != -1) return a / b;
  if (op == "Max") return std::max(a, b);
  if (op == "Min") return std::min(a, b);
  return std::nullopt;
}

void infer_elementwise(InferContext& context) {
  const std::string& op = context.node().op_type;
  const bool has_two = is_binary_operator(op);
  const std::size_t most = op == "Clip" ? 3 : has_two ? 2 : 1;
  QSLIM_REQUIRE(context.input_count() <= most, op, " '", context.node().label, "': expected ", most,
                " inputs, got ", context.input_count());
  TensorFacts facts{context.dims(0), context.input(0).dtype, std::nullopt};
  if (has_two) {
    facts.dims = broadcast_dims(context, context.dims(0), context.dims(1));
    const auto &a = context.input(0).integers, &b = context.input(1).integers;
    const bool scalar_like =
        a && b && (a->size() == b->size() || a->size() == 1 || b->size() == 1) &&
        static_cast<std::int64_t>(std::max(a->size(), b->size())) == element_count(facts.dims);
    if (scalar_like) {
      std::vector<std::int64_t> values;
      for (std::size_t i = 0; i < std::max(a->size(), b->size()); ++i) {
        const auto value =
            combine(context.node().op_type, (*a)[a->size() == 1 ? 0 : i], (*b)[b->size() == 1 ? 0 : i]);
        if (!value) break;
        values.push_back(*value);
      }
      if (values.size() == std::max(a->size(), b->size())) facts.integers = std::move(values);
    }
  }
  context.set_output(0, std::move(facts));
}

void compile_elementwise(Compiler& compiler, const Node& node) {
  if (compiler.facts(node.inputs[0]).dtype != DType::kFloat32) return emit_typed_binary(compiler, node);
  Layout layout = Layout::kPlain;
  for (const int input : node.inputs) {
    if (input == kAbsent || compiler.tensor(input).is_constant()) continue;
    if (compiler.dims(input).size() == 4 && compiler.layout_of(input) == Layout::kChannelsLast) {
      layout = Layout::kChannelsLast;
    }
  }
  for (const Layout wanted : {layout, Layout::kPlain}) {
    Chain chain(compiler, node.outputs[0], wanted, std::nullopt);
    if (!chain.add(node)) continue;
    chain.grow();
    auto compiled = chain.compile();
    Step step = compiler.step_for(node, compiled.program.kernel_name(),
                                  compiled.result.storage.is_quantized() ? "int8" : "float32");
    step.op = chain.names();
    step.reads = compiled.operands;
    step.writes = {compiled.result.buffer};
    step.run = [compiled](const Execution& e) { run_chain(compiled, e); };
    compiler.emit(std::move(step));
    return;
  }
  throw InvalidArgument(
      concatenate(node.op_type, " '", node.label,
                  "': these operands are not supported (float32 arrays that broadcast are)"));
}

}  // namespace

#define QSLIM_ELEMENTWISE_OPERATOR(Name)                                                             \
  void infer_##Name(InferContext& context) { infer_elementwise(context); }                           \
  void compile_##Name(Compiler& compiler, const Node& node) { compile_elementwise(compiler, node); } \
  bool splits_##Name(const InferContext& context) { return images_broadcast_apart(context); }

#define QSLIM_ELEMENTWISE_UNARY(Name, ...) QSLIM_ELEMENTWISE_OPERATOR(Name)
#define QSLIM_ELEMENTWISE_UNARY_ALPHA_BETA(Name, ...) QSLIM_ELEMENTWISE_OPERATOR(Name)
#define QSLIM_ELEMENTWISE_BINARY(Name, ...) QSLIM_ELEMENTWISE_OPERATOR(Name)
#include "qslim/formulas/elementwise.inc"
QSLIM_ELEMENTWISE_OPERATOR(Clip)
QSLIM_ELEMENTWISE_OPERATOR(Gelu)
QSLIM_ELEMENTWISE_OPERATOR(Relu)

// ---- Mod, of integers alone ----

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
void compile_Mod(Compiler& compiler, const Node& node) { emit_typed_binary(compiler, node); }

// ---- Cast ----

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

}  // namespace qslim::runtime
