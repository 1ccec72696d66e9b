// SPDX-License-Identifier: Apache-2.0
//
// Unary and binary operators with broadcasting. On floats they become chains; on integers they are computed
// at compile time, where they work out extents, or else by plain loops.
#include <algorithm>
#include <cmath>

#include "qslim/runtime/ops/chain.h"
#include "qslim/runtime/ops/logic_steps.h"
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
  if (compiler.facts(node.inputs[0]).dtype != DType::kFloat32) return compile_typed_binary(compiler, node);
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

#define QSLIM_ELEMENTWISE(Name)                                                                      \
  void infer_##Name(InferContext& context) { infer_elementwise(context); }                           \
  void compile_##Name(Compiler& compiler, const Node& node) { compile_elementwise(compiler, node); } \
  bool splits_##Name(const InferContext& context) { return images_broadcast_apart(context); }

QSLIM_ELEMENTWISE(Abs)
QSLIM_ELEMENTWISE(Add)
QSLIM_ELEMENTWISE(Ceil)
QSLIM_ELEMENTWISE(Clip)
QSLIM_ELEMENTWISE(Cos)
QSLIM_ELEMENTWISE(Div)
QSLIM_ELEMENTWISE(Elu)
QSLIM_ELEMENTWISE(Erf)
QSLIM_ELEMENTWISE(Exp)
QSLIM_ELEMENTWISE(Floor)
QSLIM_ELEMENTWISE(Gelu)
QSLIM_ELEMENTWISE(HardSigmoid)
QSLIM_ELEMENTWISE(HardSwish)
QSLIM_ELEMENTWISE(LeakyRelu)
QSLIM_ELEMENTWISE(Log)
QSLIM_ELEMENTWISE(Max)
QSLIM_ELEMENTWISE(Min)
QSLIM_ELEMENTWISE(Mish)
QSLIM_ELEMENTWISE(Mul)
QSLIM_ELEMENTWISE(Neg)
QSLIM_ELEMENTWISE(PRelu)
QSLIM_ELEMENTWISE(Pow)
QSLIM_ELEMENTWISE(Reciprocal)
QSLIM_ELEMENTWISE(Relu)
QSLIM_ELEMENTWISE(Round)
QSLIM_ELEMENTWISE(Sigmoid)
QSLIM_ELEMENTWISE(Sin)
QSLIM_ELEMENTWISE(Softplus)
QSLIM_ELEMENTWISE(Sqrt)
QSLIM_ELEMENTWISE(Sub)
QSLIM_ELEMENTWISE(Tanh)

}  // namespace qslim::runtime
