// SPDX-License-Identifier: Apache-2.0
//
// Operators that change a tensor's extents but not the order of its elements: the result is the same memory,
// seen differently. A channels-last tensor is brought into plain order first, where that matters.
#include <algorithm>

#include "qslim/runtime/lowering/compiler.h"
#include "qslim/runtime/lowering/conversions.h"
#include "qslim/runtime/ops/movement/channel_shuffle.h"
#include "qslim/runtime/ops/registry.h"

namespace qslim::runtime {
namespace {

void set_reshaped(InferContext& context, Dims dims) {
  QSLIM_REQUIRE(element_count(dims) == element_count(context.dims(0)), context.node().op_type, " '",
                context.node().label, "': shape ", text_of(context.dims(0)), " cannot become ",
                text_of(dims));
  context.set_output(0, TensorFacts{std::move(dims), context.input(0).dtype, context.input(0).integers});
}

void compile_view(Compiler& compiler, const Node& node) {
  if (emit_channel_shuffle(compiler, node)) return;
  const int x = node.inputs[0], y = node.outputs[0];
  if (compiler.dims(x) == compiler.dims(y)) {
    const Layout layout = compiler.layout_of(x);
    emit_view(compiler, node, y, layout, compiler.get(x, layout));
    return;
  }
  emit_view(compiler, node, y, Layout::kPlain, compiler.get(x, Layout::kPlain));
}

// Axis 0 stays what it is.
bool keeps_images(const InferContext& context) {
  const Dims &x = context.dims(0), &y = context.output_dims(0);
  return !x.empty() && !y.empty() && x[0] == y[0];
}

}  // namespace

void infer_Identity(InferContext& context) { context.set_output(0, context.input(0)); }
bool splits_Identity(const InferContext&) { return true; }
void compile_Identity(Compiler& compiler, const Node& node) { compile_view(compiler, node); }

void infer_Reshape(InferContext& context) {
  Dims dims = context.integers(1);
  const Dims& x = context.dims(0);
  std::int64_t known = 1;
  std::size_t open = dims.size();
  for (std::size_t i = 0; i < dims.size(); ++i) {
    if (dims[i] == 0 && context.attributes.integer("allowzero", 0) == 0) {
      context.require(i < x.size(), "an extent of 0 copies one that is not there");
      dims[i] = x[i];
    }
    if (dims[i] == -1) {
      context.require(open == dims.size(), "two extents of -1");
      open = i;
      continue;
    }
    context.require(dims[i] >= 0 && (dims[i] == 0 || known <= (std::int64_t{1} << 40) / dims[i]),
                    "an extent is out of range");
    known *= dims[i];
  }
  if (open < dims.size()) {
    context.require(known > 0 && element_count(x) % known == 0, "the extent of -1 does not come out even");
    dims[open] = element_count(x) / known;
  }
  set_reshaped(context, std::move(dims));
}
bool splits_Reshape(const InferContext& context) { return keeps_images(context); }
void compile_Reshape(Compiler& compiler, const Node& node) { compile_view(compiler, node); }

void infer_Flatten(InferContext& context) {
  const std::int64_t axis = context.attributes.integer("axis", 1), rank = context.rank(0);
  context.require(axis >= -rank && axis <= rank, "axis is out of range");
  const auto split = static_cast<std::ptrdiff_t>(axis < 0 ? axis + rank : axis);
  const Dims& x = context.dims(0);
  set_reshaped(context, {element_count(Dims(x.begin(), x.begin() + split)),
                         element_count(Dims(x.begin() + split, x.end()))});
}
bool splits_Flatten(const InferContext& context) { return keeps_images(context); }
void compile_Flatten(Compiler& compiler, const Node& node) { compile_view(compiler, node); }

void infer_Squeeze(InferContext& context) {
  const Dims& x = context.dims(0);
  const std::vector<std::int64_t> axes = context.integers_or(1, "axes");
  std::vector<bool> drop(x.size(), false);
  for (std::size_t i = 0; i < x.size(); ++i) drop[i] = axes.empty() && x[i] == 1;
  for (const std::int64_t axis : axes) drop[context.axis(axis, context.rank(0))] = true;
  Dims dims;
  for (std::size_t i = 0; i < x.size(); ++i) {
    context.require(!drop[i] || x[i] == 1, "an axis to be squeezed has more than one element");
    if (!drop[i]) dims.push_back(x[i]);
  }
  set_reshaped(context, std::move(dims));
}
bool splits_Squeeze(const InferContext& context) { return keeps_images(context); }
void compile_Squeeze(Compiler& compiler, const Node& node) { compile_view(compiler, node); }

void infer_Unsqueeze(InferContext& context) {
  const std::vector<std::int64_t> axes = context.integers_or(1, "axes");
  const auto rank = context.rank(0) + static_cast<std::int64_t>(axes.size());
  context.require(rank <= 8, "more than eight axes");
  std::vector<bool> is_new(static_cast<std::size_t>(rank), false);
  for (const std::int64_t axis : axes) {
    const std::size_t i = context.axis(axis, rank);
    context.require(!is_new[i], "an axis is named twice");
    is_new[i] = true;
  }
  Dims dims;
  std::size_t next = 0;
  for (std::size_t i = 0; i < is_new.size(); ++i) dims.push_back(is_new[i] ? 1 : context.dims(0)[next++]);
  set_reshaped(context, std::move(dims));
}
bool splits_Unsqueeze(const InferContext& context) { return keeps_images(context); }
void compile_Unsqueeze(Compiler& compiler, const Node& node) { compile_view(compiler, node); }

}  // namespace qslim::runtime
