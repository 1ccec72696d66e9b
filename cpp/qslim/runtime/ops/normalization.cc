// SPDX-License-Identifier: Apache-2.0
//
// Softmax and the normalizations by mean and variance of the data itself, in float32.
#include <cstring>

#include "qslim/kernels/layer_norm/layer_norm.h"
#include "qslim/kernels/softmax/softmax.h"
#include "qslim/runtime/lowering/conversions.h"
#include "qslim/runtime/ops/registry.h"

namespace qslim::runtime {
namespace {

Step step_of(const Compiler& compiler, const Node& node, const char* kernel, const Value& from,
             const Value& to) {
  Step step = compiler.step_for(node, kernel, "float32");
  step.reads = {from.buffer};
  step.writes = {to.buffer};
  return step;
}

}  // namespace

void infer_Softmax(InferContext& context) {
  context.require(context.rank(0) >= 1, "expected an array of at least one axis");
  context.axis(context.attributes.integer("axis", -1), context.rank(0));
  context.set_output(0, context.dims(0), DType::kFloat32);
}

bool splits_Softmax(const InferContext& context) {
  return context.axis(context.attributes.integer("axis", -1), context.rank(0)) != 0;
}

void compile_Softmax(Compiler& compiler, const Node& node) {
  const int x = node.inputs[0], y = node.outputs[0];
  const auto rank = compiler.facts(x).rank();
  std::size_t axis = checked_axis(node, Attributes(node).integer("axis", -1), rank);
  const Value from = compiler.get_real(x, compiler.layout_of(x));
  if (from.layout == Layout::kChannelsLast && rank == 4) {
    constexpr std::size_t kPlace[] = {0, 3, 1, 2};  // of a logical axis in memory
    axis = kPlace[axis];
  }
  const Around a = around(from.memory_dims(), axis);
  const Value to = define_or_round_later(compiler, y, from.layout, real_storage());
  Step step = step_of(compiler, node, "softmax", from, to);
  step.run = [a, p = from.buffer, q = to.buffer](const Execution& e) {
    softmax(e.context, a.outer, a.axis, a.inner, e.at<float>(p), e.at<float>(q));
  };
  compiler.emit(std::move(step));
  round_if_needed(compiler, y, to);
}

void infer_LayerNormalization(InferContext& context) {
  const std::size_t axis = context.axis(context.attributes.integer("axis", -1), context.rank(0));
  const Dims& x = context.dims(0);
  const std::int64_t normalized = element_count(Dims(x.begin() + static_cast<std::ptrdiff_t>(axis), x.end()));
  context.require(element_count(context.dims(1)) == normalized,
                  "the scale does not have the normalized extents");
  context.require(!context.has_input(2) || element_count(context.dims(2)) == normalized,
                  "the bias does not have the normalized extents");
  context.set_output(0, x, DType::kFloat32);
}

bool splits_LayerNormalization(const InferContext& context) {
  return context.axis(context.attributes.integer("axis", -1), context.rank(0)) != 0;
}

void compile_LayerNormalization(Compiler& compiler, const Node& node) {
  const int x = node.inputs[0], y = node.outputs[0];
  const std::size_t axis = checked_axis(node, Attributes(node).integer("axis", -1), compiler.facts(x).rank());
  const Value from = compiler.get_real(x, Layout::kPlain);
  const Value gamma = compiler.get_real(node.inputs[1], Layout::kPlain);
  const bool has_beta = node.inputs.size() > 2 && node.inputs[2] != kAbsent;
  const Value beta = has_beta ? compiler.get_real(node.inputs[2], Layout::kPlain) : Value{};
  const Value to = define_or_round_later(compiler, y, Layout::kPlain, real_storage());
  std::size_t rows = 1, n = 1;
  for (std::size_t i = 0; i < from.dims.size(); ++i)
    (i < axis ? rows : n) *= static_cast<std::size_t>(from.dims[i]);
  const float epsilon = Attributes(node).real("epsilon", 1e-5);
  Step step = step_of(compiler, node, "layer_norm", from, to);
  step.reads.push_back(gamma.buffer);
  if (has_beta) step.reads.push_back(beta.buffer);
  step.run = [=, p = from.buffer, q = to.buffer, g = gamma.buffer, b = beta.buffer](const Execution& e) {
    layer_norm(e.context, rows, n, e.at<float>(p),
               {e.at<float>(g), has_beta ? e.at<float>(b) : nullptr, epsilon}, e.at<float>(q));
  };
  compiler.emit(std::move(step));
  round_if_needed(compiler, y, to);
}

namespace {

std::int64_t groups_of(const InferContext& context) {
  if (context.node().op_type == "InstanceNormalization") return context.dims(0)[1];
  return context.attributes.integer("num_groups", 0);
}

void infer_grouped(InferContext& context) {
  context.require_real(0);
  context.require(context.rank(0) >= 2, "expected an input [N, C, ...]");
  const std::int64_t channels = context.dims(0)[1], groups = groups_of(context);
  context.require(groups >= 1 && channels % groups == 0, "num_groups does not divide the channels");
  context.require(context.attributes.real("epsilon", 1e-5) >= 0, "epsilon must not be negative");
  for (const std::size_t i : {1, 2}) {
    context.require_real(i);
    context.require(context.dims(i) == Dims{channels},
                    "scale and bias must have one number for each channel");
  }
  context.set_output(0, context.dims(0), DType::kFloat32);
}

void compile_grouped(Compiler& compiler, const Node& node) {
  const int x = node.inputs[0], y = node.outputs[0];
  const Value from = compiler.get_real(x, Layout::kPlain);
  const Value gamma = compiler.get_real(node.inputs[1], Layout::kPlain);
  const Value beta = compiler.get_real(node.inputs[2], Layout::kPlain);
  const Value to = define_or_round_later(compiler, y, Layout::kPlain, real_storage());
  GroupNormExtents extents;
  extents.batch = as_size(from.dims[0]);
  extents.channels = as_size(from.dims[1]);
  extents.pixels = as_size(element_count(from.dims) / (from.dims[0] * from.dims[1]));
  extents.groups = as_size(compiler.with_context(node, groups_of));
  const float epsilon = Attributes(node).real("epsilon", 1e-5);
  Step step = step_of(compiler, node, "group_norm", from, to);
  step.reads.insert(step.reads.end(), {gamma.buffer, beta.buffer});
  step.run = [=, p = from.buffer, q = to.buffer, g = gamma.buffer, b = beta.buffer](const Execution& e) {
    group_norm(e.context, extents, e.at<float>(p), {e.at<float>(g), e.at<float>(b), epsilon}, e.at<float>(q));
  };
  compiler.emit(std::move(step));
  round_if_needed(compiler, y, to);
}

}  // namespace

void infer_GroupNormalization(InferContext& context) { infer_grouped(context); }
bool splits_GroupNormalization(const InferContext& context) {
  return !context.depends_on_input(1) && !context.depends_on_input(2);
}
void compile_GroupNormalization(Compiler& compiler, const Node& node) { compile_grouped(compiler, node); }

void infer_InstanceNormalization(InferContext& context) { infer_grouped(context); }
bool splits_InstanceNormalization(const InferContext& context) {
  return !context.depends_on_input(1) && !context.depends_on_input(2);
}
void compile_InstanceNormalization(Compiler& compiler, const Node& node) { compile_grouped(compiler, node); }

}  // namespace qslim::runtime
