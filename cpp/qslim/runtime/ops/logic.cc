// SPDX-License-Identifier: Apache-2.0
//
// Comparisons, logic on masks, Trilu and Where. Everything is in plain order.
#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "qslim/kernels/typed_elementwise/typed_elementwise.h"
#include "qslim/runtime/lowering/broadcasting.h"
#include "qslim/runtime/lowering/conversions.h"
#include "qslim/runtime/ops/registry.h"

namespace qslim::runtime {
namespace {

constexpr std::int64_t kMaxDiagonal = std::int64_t{1} << 40;

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

#define QSLIM_TYPED(Name, infer_function)                                                          \
  void infer_##Name(InferContext& context) { infer_function(context); }                            \
  void compile_##Name(Compiler& compiler, const Node& node) { emit_typed_binary(compiler, node); } \
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

void infer_Trilu(InferContext& context) {
  context.require(context.rank(0) >= 2, "expected two axes at least");
  if (context.has_input(1)) {
    const std::vector<std::int64_t>& k = context.integers(1);
    context.require(k.size() == 1 && std::abs(k[0]) < kMaxDiagonal, "its diagonal is out of range");
  }
  context.set_output(0, context.dims(0), context.input(0).dtype);
}
bool splits_Trilu(const InferContext& context) { return context.rank(0) > 2; }
void compile_Trilu(Compiler& compiler, const Node& node) {
  const int x = node.inputs[0], y = node.outputs[0];
  const Dims& dims = compiler.dims(x);
  const std::int64_t rows = dims[dims.size() - 2], columns = dims.back();
  const bool has_k = node.inputs.size() > 1 && node.inputs[1] >= 0;
  const std::int64_t k = has_k ? (*compiler.facts(node.inputs[1]).integers)[0] : 0;
  const bool is_upper = Attributes(node).integer("upper", 1) != 0;
  const Value from = get_plain(compiler, x);
  const Value to = define_or_round_later(compiler, y, Layout::kPlain, real_storage());
  const std::size_t size = size_of(to.dtype), count = static_cast<std::size_t>(element_count(dims));
  Step step = compiler.step_for(node, "triangle", name_of(to.dtype));
  step.reads = {from.buffer};
  step.writes = {to.buffer};
  step.run = [=, p = from.buffer, q = to.buffer](const Execution& e) {
    const auto* source = e.at<const std::uint8_t>(p);
    auto* target = e.at<std::uint8_t>(q);
    const std::size_t row_bytes = static_cast<std::size_t>(columns) * size;
    for (std::size_t i = 0; i * row_bytes < count * size; ++i) {
      // Columns of a row up to its diagonal: of the upper triangle they are 0, of the lower one those behind are.
      const std::int64_t row = static_cast<std::int64_t>(i) % rows;
      const std::int64_t before = std::clamp<std::int64_t>(row + k + (is_upper ? 0 : 1), 0, columns);
      const std::size_t head = static_cast<std::size_t>(before) * size;
      const std::uint8_t* in = source + i * row_bytes;
      std::uint8_t* out = target + i * row_bytes;
      if (is_upper) {
        std::memset(out, 0, head);
        std::memcpy(out + head, in + head, row_bytes - head);
      } else {
        std::memcpy(out, in, head);
        std::memset(out + head, 0, row_bytes - head);
      }
    }
  };
  compiler.emit(std::move(step));
  round_if_needed(compiler, y, to);
}

}  // namespace qslim::runtime
