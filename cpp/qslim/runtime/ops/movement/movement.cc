// SPDX-License-Identifier: Apache-2.0
//
// Operators that move elements: each is one or a few strided copies in the layout that its input has.
#include <algorithm>

#include "qslim/runtime/lowering/compiler.h"
#include "qslim/runtime/lowering/conversions.h"
#include "qslim/runtime/ops/registry.h"

namespace qslim::runtime {
namespace {

Step step_of(const Compiler& compiler, const Node& node, const Value& from, const Value& to) {
  Step step = compiler.step_for(node, "strided_copy", to.storage.is_quantized() ? "int8" : name_of(to.dtype));
  step.reads = {from.buffer};
  step.writes = {to.buffer};
  return step;
}

// The layout in which most of a node's data is there.
Layout preferred_layout(Compiler& compiler, const Node& node) {
  for (const int input : node.inputs) {
    if (input != kAbsent && compiler.dims(input).size() == 4 &&
        compiler.layout_of(input) == Layout::kChannelsLast) {
      return Layout::kChannelsLast;
    }
  }
  return Layout::kPlain;
}

bool avoids_axis_0(const InferContext& context, std::int64_t axis) {
  return context.axis(axis, context.rank(0)) != 0;
}

bool keeps_axis_0(const InferContext& context) {
  return context.rank(0) > 0 && context.dims(0)[0] == context.output_dims(0)[0];
}

struct Slicing {
  std::vector<std::int64_t> start, step, count;  // per axis
};

Slicing slicing_of(const InferContext& context) {
  const Dims& x = context.dims(0);
  const std::vector<std::int64_t> starts = context.integers_or(1, "starts"),
                                  ends = context.integers_or(2, "ends");
  std::vector<std::int64_t> axes = context.integers_or(3, "axes"), steps = context.integers_or(4, "steps");
  context.require(starts.size() == ends.size() && starts.size() <= x.size(),
                  "starts and ends differ in number");
  for (std::size_t i = axes.size(); i < starts.size(); ++i) axes.push_back(static_cast<std::int64_t>(i));
  if (steps.empty()) steps.assign(starts.size(), 1);
  context.require(steps.size() == starts.size() && axes.size() == starts.size(),
                  "axes or steps differ in number");
  Slicing s{std::vector<std::int64_t>(x.size(), 0), std::vector<std::int64_t>(x.size(), 1), x};
  for (std::size_t i = 0; i < starts.size(); ++i) {
    const std::size_t axis = context.axis(axes[i], context.rank(0));
    const std::int64_t extent = x[axis], step = steps[i];
    context.require(step != 0 && step > -(std::int64_t{1} << 31) && step < (std::int64_t{1} << 31),
                    "a step is out of range");
    const auto clamp = [&](std::int64_t v, std::int64_t lo, std::int64_t hi) {
      if (v < 0) v = v < -extent ? lo : v + extent;
      return std::min(std::max(v, lo), hi);
    };
    const std::int64_t begin = step > 0 ? clamp(starts[i], 0, extent) : clamp(starts[i], 0, extent - 1);
    const std::int64_t end = step > 0 ? clamp(ends[i], 0, extent) : clamp(ends[i], -1, extent - 1);
    const std::int64_t length = step > 0 ? end - begin : begin - end;
    const std::int64_t stride = step > 0 ? step : -step;
    s.start[axis] = begin;
    s.step[axis] = step;
    s.count[axis] = length <= 0 ? 0 : (length + stride - 1) / stride;
    if (s.count[axis] <= 1) s.step[axis] = 1;  // a step that is never taken may be huge
  }
  return s;
}

}  // namespace

// ---- Transpose ----

void infer_Transpose(InferContext& context) {
  const Dims& x = context.dims(0);
  std::vector<std::int64_t> perm = context.attributes.integers("perm");
  for (std::int64_t i = context.rank(0) - 1; perm.size() < x.size() && i >= 0; --i) perm.push_back(i);
  context.require(perm.size() == x.size(), "perm does not have one number for each axis");
  std::vector<bool> used(x.size(), false);
  Dims dims;
  for (const std::int64_t axis : perm) {
    const std::size_t i = context.axis(axis, context.rank(0));
    context.require(!used[i], "perm names an axis twice");
    used[i] = true;
    dims.push_back(x[i]);
  }
  context.set_output(0, std::move(dims), context.input(0).dtype);
}

bool splits_Transpose(const InferContext& context) {
  const std::vector<std::int64_t> perm = context.attributes.integers("perm");
  return !perm.empty() && context.axis(perm[0], context.rank(0)) == 0;
}

void compile_Transpose(Compiler& compiler, const Node& node) {
  const int x = node.inputs[0], y = node.outputs[0];
  const auto rank = compiler.facts(x).rank();
  std::vector<std::int64_t> perm = Attributes(node).integers("perm");
  for (std::int64_t i = rank - 1; static_cast<std::int64_t>(perm.size()) < rank && i >= 0; --i)
    perm.push_back(i);
  const Value from = get_on_grid_of(compiler, x, y, compiler.layout_of(x));
  const Dims source = logical_strides(from);
  Dims strides;
  for (const std::int64_t axis : perm) strides.push_back(source[checked_axis(node, axis, rank)]);
  // Often only the layout's name changes: [N, C, H, W] channels-last to [N, H, W, C] plain.
  const Dims plain = strides_of(compiler.dims(y));
  bool is_view = true;
  for (std::size_t i = 0; i < strides.size(); ++i) {
    is_view = is_view && (compiler.dims(y)[i] == 1 || strides[i] == plain[i]);
  }
  if (is_view) {
    compiler.alias(y, Layout::kPlain, from);
    return;
  }
  const Value to = compiler.define(y, Layout::kPlain, from.storage);
  emit_copy(compiler, step_of(compiler, node, from, to), from, to, Copy{compiler.dims(y), strides, plain});
}

// ---- Concat ----

void infer_Concat(InferContext& context) {
  const Node& node = context.node();
  context.require(context.input_count() > 0 && context.rank(0) > 0, "expected arrays of at least one axis");
  const std::size_t axis = context.axis(context.attributes.integer("axis", 0), context.rank(0));
  TensorFacts facts{context.dims(0), context.input(0).dtype, std::vector<std::int64_t>{}};
  facts.dims[axis] = 0;
  for (std::size_t i = 0; i < node.inputs.size(); ++i) {
    const TensorFacts& part = context.input(i);
    context.require(part.rank() == context.rank(0), "the arrays differ in rank");
    context.require(part.dtype == context.input(0).dtype, "the arrays differ in type");
    for (std::size_t a = 0; a < part.dims.size(); ++a) {
      context.require(a == axis || part.dims[a] == facts.dims[a], "the arrays differ in extent");
    }
    facts.dims[axis] += part.dims[axis];
    if (facts.integers && part.integers && part.rank() == 1) {
      facts.integers->insert(facts.integers->end(), part.integers->begin(), part.integers->end());
    } else {
      facts.integers.reset();
    }
  }
  context.set_output(0, std::move(facts));
}

bool splits_Concat(const InferContext& context) {
  return avoids_axis_0(context, context.attributes.integer("axis", 0));
}

void compile_Concat(Compiler& compiler, const Node& node) {
  const int y = node.outputs[0];
  const Layout layout = preferred_layout(compiler, node);
  std::vector<Value> parts;
  for (const int input : node.inputs) parts.push_back(get_on_grid_of(compiler, input, y, layout));
  const Value to = compiler.define(y, layout, compiler.storage(y));
  const std::size_t axis =
      checked_axis(node, Attributes(node).integer("axis", 0), static_cast<std::int64_t>(to.dims.size()));
  const Dims target = logical_strides(to);
  std::int64_t offset = 0;
  for (const Value& part : parts) {
    Copy copy{part.dims, logical_strides(part), target};
    copy.target_offset = offset * target[axis];
    offset += part.dims[axis];
    emit_copy(compiler, step_of(compiler, node, part, to), part, to, copy);
  }
}

// ---- Split, Slice ----

void infer_Split(InferContext& context) {
  const std::size_t axis = context.axis(context.attributes.integer("axis", 0), context.rank(0));
  std::vector<std::int64_t> sizes = context.integers_or(1, "split");
  const auto outputs = static_cast<std::int64_t>(context.node().outputs.size());
  const std::int64_t extent = context.dims(0)[axis];
  if (sizes.empty()) {
    const std::int64_t size = (extent + outputs - 1) / outputs;
    for (std::int64_t left = extent; left > 0; left -= size) sizes.push_back(std::min(size, left));
  }
  std::int64_t total = 0;
  for (const std::int64_t size : sizes) {
    context.require(size >= 0 && size <= extent, "a size is out of range");
    total += size;
  }
  context.require(static_cast<std::int64_t>(sizes.size()) == outputs && total == extent,
                  "the sizes do not add up to the extent, or are not one for each output");
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    context.require(context.node().outputs[i] != kAbsent, "an output has no name");
    Dims dims = context.dims(0);
    dims[axis] = sizes[i];
    context.set_output(i, std::move(dims), context.input(0).dtype);
  }
}

bool splits_Split(const InferContext& context) {
  return avoids_axis_0(context, context.attributes.integer("axis", 0));
}

void compile_Split(Compiler& compiler, const Node& node) {
  const Layout layout = compiler.layout_of(node.inputs[0]);
  const std::size_t axis =
      checked_axis(node, Attributes(node).integer("axis", 0), compiler.facts(node.inputs[0]).rank());
  std::int64_t offset = 0;
  for (std::size_t i = 0; i < node.outputs.size(); ++i) {
    const int y = node.outputs[i];
    const Value from = get_on_grid_of(compiler, node.inputs[0], y, layout);
    const Value to = compiler.define(y, layout, from.storage);
    Copy copy{to.dims, logical_strides(from), logical_strides(to)};
    copy.source_offset = offset * copy.source_strides[axis];
    emit_copy(compiler, step_of(compiler, node, from, to), from, to, copy);
    offset += to.dims[axis];
  }
}

void infer_Slice(InferContext& context) {
  const Slicing s = slicing_of(context);
  TensorFacts facts{s.count, context.input(0).dtype, std::nullopt};
  if (context.input(0).integers && context.rank(0) == 1) {
    facts.integers.emplace();
    for (std::int64_t i = 0; i < s.count[0]; ++i) {
      facts.integers->push_back((*context.input(0).integers)[as_size(s.start[0] + i * s.step[0])]);
    }
  }
  context.set_output(0, std::move(facts));
}

bool splits_Slice(const InferContext& context) {
  const Slicing s = slicing_of(context);
  return !s.count.empty() && s.count[0] == context.dims(0)[0] && s.step[0] == 1;
}

void compile_Slice(Compiler& compiler, const Node& node) {
  const int y = node.outputs[0];
  const Layout layout = compiler.layout_of(node.inputs[0]);
  const Value from = get_on_grid_of(compiler, node.inputs[0], y, layout);
  const Value to = compiler.define(y, layout, from.storage);
  const Slicing s = compiler.with_context(node, slicing_of);
  Copy copy{to.dims, logical_strides(from), logical_strides(to)};
  for (std::size_t i = 0; i < to.dims.size(); ++i) {
    copy.source_offset += s.start[i] * copy.source_strides[i];
    copy.source_strides[i] *= s.step[i];
  }
  emit_copy(compiler, step_of(compiler, node, from, to), from, to, copy);
}

// ---- Expand, Tile ----

void infer_Expand(InferContext& context) {
  Dims wanted = context.integers(1);
  const Dims& x = context.dims(0);
  while (wanted.size() < x.size()) wanted.insert(wanted.begin(), 1);
  const std::size_t skip = wanted.size() - x.size();
  for (std::size_t i = 0; i < x.size(); ++i) {
    std::int64_t& extent = wanted[skip + i];
    if (extent == -1 || extent == 1) extent = x[i];
    context.require(x[i] == 1 || x[i] == extent, "the array does not expand to that shape");
  }
  for (const std::int64_t extent : wanted) context.require(extent >= 0, "an extent is negative");
  context.set_output(0, std::move(wanted), context.input(0).dtype);
}

bool splits_Expand(const InferContext& context) {
  return context.rank(0) == static_cast<std::int64_t>(context.output_dims(0).size()) && keeps_axis_0(context);
}

void compile_Expand(Compiler& compiler, const Node& node) {
  const int y = node.outputs[0];
  const bool same_rank = compiler.dims(y).size() == compiler.dims(node.inputs[0]).size();
  const Layout layout = same_rank ? compiler.layout_of(node.inputs[0]) : Layout::kPlain;
  const Value from = get_on_grid_of(compiler, node.inputs[0], y, layout);
  const Value to = compiler.define(y, layout, from.storage);
  const Dims source = logical_strides(from);
  Copy copy{to.dims, Dims(to.dims.size(), 0), logical_strides(to)};
  const std::size_t skip = to.dims.size() - from.dims.size();
  for (std::size_t i = 0; i < from.dims.size(); ++i) {
    if (from.dims[i] != 1) copy.source_strides[skip + i] = source[i];
  }
  emit_copy(compiler, step_of(compiler, node, from, to), from, to, copy);
}

void infer_Tile(InferContext& context) {
  const std::vector<std::int64_t>& repeats = context.integers(1);
  Dims dims = context.dims(0);
  context.require(repeats.size() == dims.size(), "expected one number of repeats for each axis");
  for (std::size_t i = 0; i < dims.size(); ++i) {
    context.require(repeats[i] >= 1 && repeats[i] <= (1 << 20), "a number of repeats is out of range");
    dims[i] *= repeats[i];
  }
  context.set_output(0, std::move(dims), context.input(0).dtype);
}

bool splits_Tile(const InferContext& context) { return keeps_axis_0(context); }

void compile_Tile(Compiler& compiler, const Node& node) {
  const int y = node.outputs[0];
  const Value from = get_on_grid_of(compiler, node.inputs[0], y, Layout::kPlain);
  const Value to = compiler.define(y, Layout::kPlain, from.storage);
  // [r0, x0, r1, x1, ...]: the source does not move along the repeats.
  const Dims source = logical_strides(from), target = logical_strides(to);
  Copy copy;
  for (std::size_t i = 0; i < from.dims.size(); ++i) {
    copy.extents.insert(copy.extents.end(), {to.dims[i] / from.dims[i], from.dims[i]});
    copy.source_strides.insert(copy.source_strides.end(), {0, source[i]});
    copy.target_strides.insert(copy.target_strides.end(), {target[i] * from.dims[i], target[i]});
  }
  emit_copy(compiler, step_of(compiler, node, from, to), from, to, copy);
}

}  // namespace qslim::runtime
