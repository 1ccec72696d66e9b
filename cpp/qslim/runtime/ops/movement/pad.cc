// SPDX-License-Identifier: Apache-2.0
//
// Pad: a constant around the data, or the data itself, mirrored (reflect), with its edge repeated (edge) or
// from the other side (wrap). What repeats the data goes axis by axis, each a gather of the positions that
// the padded axis shows.
#include <algorithm>

#include "qslim/kernels/movement/movement.h"
#include "qslim/runtime/lowering/conversions.h"
#include "qslim/runtime/ops/registry.h"

namespace qslim::runtime {
namespace {

constexpr std::int64_t kMaxPad = 1 << 20;

enum class PadMode { kConstant, kReflect, kEdge, kWrap };

struct Padding {
  PadMode mode = PadMode::kConstant;
  Dims before, after;
};

PadMode mode_of(const InferContext& context) {
  const std::string name = context.attributes.text("mode", "constant");
  if (name == "reflect") return PadMode::kReflect;
  if (name == "edge") return PadMode::kEdge;
  if (name == "wrap") return PadMode::kWrap;
  context.require(name == "constant", "the modes are constant, reflect, edge and wrap");
  return PadMode::kConstant;
}

Padding padding_of(const InferContext& context) {
  const auto rank = as_size(context.rank(0));
  const std::vector<std::int64_t> pads = context.integers_or(1, "pads");
  std::vector<std::int64_t> axes;
  if (context.has_input(3)) axes = context.integers(3);
  if (axes.empty()) {
    for (std::size_t i = 0; i < rank; ++i) axes.push_back(static_cast<std::int64_t>(i));
  }
  context.require(pads.size() == 2 * axes.size(), "expected two pads for each axis");
  Padding p{mode_of(context), Dims(rank, 0), Dims(rank, 0)};
  for (std::size_t i = 0; i < axes.size(); ++i) {
    const std::size_t axis = context.axis(axes[i], context.rank(0));
    p.before[axis] = pads[i];
    p.after[axis] = pads[axes.size() + i];
    const std::int64_t extent = context.dims(0)[axis];
    for (const std::int64_t pad : {p.before[axis], p.after[axis]}) {
      context.require(pad >= -kMaxPad && pad <= kMaxPad, "a pad is out of range");
      context.require(p.mode == PadMode::kConstant || p.mode == PadMode::kEdge ||
                          pad <= extent - (p.mode == PadMode::kReflect ? 1 : 0),
                      "a pad is larger than what there is to repeat");
    }
  }
  return p;
}

// Return, for each place of the padded axis, which of `extent` elements it repeats.
std::vector<std::int64_t> positions(PadMode mode, std::int64_t extent, std::int64_t before,
                                    std::int64_t after) {
  std::vector<std::int64_t> indices;
  for (std::int64_t i = -before; i < extent + after; ++i) {
    std::int64_t at = i;
    if (mode == PadMode::kReflect) at = i < 0 ? -i : i >= extent ? 2 * (extent - 1) - i : i;
    if (mode == PadMode::kWrap) at = i < 0 ? i + extent : i >= extent ? i - extent : i;
    indices.push_back(std::min(std::max<std::int64_t>(at, 0), extent - 1));
  }
  return indices;
}

void compile_repeating(Compiler& compiler, const Node& node, const Padding& p) {
  const int y = node.outputs[0];
  Value value = get_on_grid_of(compiler, node.inputs[0], y, Layout::kPlain);
  std::size_t last = value.dims.size();
  for (std::size_t i = 0; i < value.dims.size(); ++i) {
    if (p.before[i] != 0 || p.after[i] != 0) last = i;
  }
  if (last == value.dims.size()) return emit_view(compiler, node, y, Layout::kPlain, value);
  for (std::size_t axis = 0; axis <= last; ++axis) {
    if (p.before[axis] == 0 && p.after[axis] == 0) continue;
    const std::vector<std::int64_t> indices =
        positions(p.mode, value.dims[axis], p.before[axis], p.after[axis]);
    Value padded = value;
    padded.dims[axis] = static_cast<std::int64_t>(indices.size());
    if (axis == last) {
      padded = compiler.define(y, Layout::kPlain, value.storage);
    } else {
      padded.buffer = compiler.new_buffer(padded.bytes());
    }
    std::size_t outer = 1, inner = 1;
    for (std::size_t i = 0; i < value.dims.size(); ++i) {
      if (i != axis) (i < axis ? outer : inner) *= as_size(value.dims[i]);
    }
    Step step =
        compiler.step_for(node, "gather", value.storage.is_quantized() ? "int8" : name_of(value.dtype));
    step.reads = {value.buffer};
    step.writes = {padded.buffer};
    step.run = [=, size = size_of(value.dtype), extent = as_size(value.dims[axis]), a = value.buffer,
                b = padded.buffer](const Execution& e) {
      gather(e.context, size, outer, extent, inner, e.at<void>(a), indices, e.at<void>(b));
    };
    compiler.emit(std::move(step));
    value = padded;
  }
}

void compile_constant(Compiler& compiler, const Node& node, const Padding& p) {
  const int y = node.outputs[0];
  const Layout layout = compiler.layout_of(node.inputs[0]);
  const Value from = get_on_grid_of(compiler, node.inputs[0], y, layout);
  const Value to = compiler.define(y, layout, from.storage);
  float value = 0;
  if (node.inputs.size() > 2 && node.inputs[2] != kAbsent) {
    const std::vector<float> values = compiler.constant_floats(node.inputs[2]);
    QSLIM_REQUIRE(values.size() == 1, "Pad '", node.label, "': expected one value to pad with, got ",
                  values.size());
    value = values[0];
  }
  emit_fill(compiler, node, to, value);
  bool is_empty = false;  // pads that crop may leave nothing of the data
  Copy copy{from.dims, logical_strides(from), logical_strides(to)};
  for (std::size_t i = 0; i < from.dims.size(); ++i) {
    // Negative pads crop.
    const std::int64_t skip = std::max<std::int64_t>(0, -p.before[i]);
    copy.extents[i] -= skip + std::max<std::int64_t>(0, -p.after[i]);
    copy.source_offset += skip * copy.source_strides[i];
    copy.target_offset += std::max<std::int64_t>(0, p.before[i]) * copy.target_strides[i];
    is_empty = is_empty || copy.extents[i] <= 0;
  }
  if (is_empty) return;
  Step step = compiler.step_for(node, "strided_copy", to.storage.is_quantized() ? "int8" : name_of(to.dtype));
  step.reads = {from.buffer};
  step.writes = {to.buffer};
  emit_copy(compiler, std::move(step), from, to, copy);
}

}  // namespace

void infer_Pad(InferContext& context) {
  const Padding p = padding_of(context);
  Dims dims = context.dims(0);
  for (std::size_t i = 0; i < dims.size(); ++i) {
    dims[i] += p.before[i] + p.after[i];
    context.require(dims[i] >= 1, "nothing is left of an axis");
  }
  context.set_output(0, std::move(dims), context.input(0).dtype);
}

bool splits_Pad(const InferContext& context) {
  const Padding p =
      padding_of(context);  // cropped at one end and padded at the other is no padding of images
  return !p.before.empty() && p.before[0] == 0 && p.after[0] == 0;
}

void compile_Pad(Compiler& compiler, const Node& node) {
  const Padding p = compiler.with_context(node, padding_of);
  if (p.mode == PadMode::kConstant) {
    compile_constant(compiler, node, p);
  } else {
    compile_repeating(compiler, node, p);
  }
}

}  // namespace qslim::runtime
