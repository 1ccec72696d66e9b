// SPDX-License-Identifier: Apache-2.0
//
// Unary and binary operators with broadcasting. On floats they become chains; on integers they are computed
// at compile time, where they work out extents.
#include <algorithm>
#include <cmath>

#include "qslim/runtime/ops/chain.h"
#include "qslim/runtime/ops/registry.h"

namespace qslim::runtime {
namespace {

Dims broadcast(const InferContext& context, const Dims& a, const Dims& b) {
  Dims result(std::max(a.size(), b.size()), 1);
  for (std::size_t i = 0; i < result.size(); ++i) {
    const std::int64_t x = i < a.size() ? a[a.size() - 1 - i] : 1, y = i < b.size() ? b[b.size() - 1 - i] : 1;
    QSLIM_REQUIRE(x == y || x == 1 || y == 1, context.node().op_type, " '", context.node().label,
                  "': shapes ", text_of(a), " and ", text_of(b), " do not broadcast");
    result[result.size() - 1 - i] = x == 1 ? y : x;
  }
  return result;
}

std::optional<std::int64_t> combine(const std::string& op, std::int64_t a, std::int64_t b) {
  std::int64_t r = 0;
  if (op == "Add") return __builtin_add_overflow(a, b, &r) ? std::nullopt : std::optional(r);
  if (op == "Sub") return __builtin_sub_overflow(a, b, &r) ? std::nullopt : std::optional(r);
  if (op == "Mul") return __builtin_mul_overflow(a, b, &r) ? std::nullopt : std::optional(r);
  if (op == "Div" && b != 0 && b != -1) {
    // Paddle's integer division rounds towards negative infinity.
    return a / b - ((a % b != 0 && (a < 0) != (b < 0)) ? 1 : 0);
  }
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
    facts.dims = broadcast(context, context.dims(0), context.dims(1));
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

// Operands of the full rank, or without axis 0, keep images apart.
bool splits_elementwise(const InferContext& context) {
  std::int64_t rank = 0;
  for (std::size_t i = 0; i < context.input_count(); ++i) {
    if (context.has_input(i)) rank = std::max(rank, context.rank(i));
  }
  for (std::size_t i = 0; i < context.input_count(); ++i) {
    if (context.has_input(i) && context.depends_on_input(i) && context.rank(i) != rank) return false;
  }
  return true;
}

void compile_elementwise(Compiler& compiler, const Node& node) {
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
  bool splits_##Name(const InferContext& context) { return splits_elementwise(context); }

QSLIM_ELEMENTWISE(Abs)
QSLIM_ELEMENTWISE(Add)
QSLIM_ELEMENTWISE(Ceil)
QSLIM_ELEMENTWISE(Clip)
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
QSLIM_ELEMENTWISE(Softplus)
QSLIM_ELEMENTWISE(Sqrt)
QSLIM_ELEMENTWISE(Sub)
QSLIM_ELEMENTWISE(Tanh)

}  // namespace qslim::runtime
