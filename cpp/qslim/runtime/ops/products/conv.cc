// SPDX-License-Identifier: Apache-2.0
//
// Conv and ConvTranspose.
//
// A transposed convolution of stride s is s_h * s_w ordinary ones, one for each residue of the output
// position modulo the stride: position oh takes the taps kh with (oh + pad - kh * d) mod s = 0, d the
// dilation, from the input rows ih = (oh + pad - kh * d) / s. With g = gcd(s, d) these are every (s / g)-th
// tap, d / g rows apart. Each convolution writes every s-th pixel of every s-th row. Where no tap reaches,
// one tap that sees nothing but padding leaves the bias.
#include <numeric>

#include "qslim/runtime/lowering/window.h"
#include "qslim/runtime/ops/products/linear.h"
#include "qslim/runtime/ops/registry.h"

namespace qslim::runtime {
namespace {

void check_weights(InferContext& context, std::int64_t input_channels, std::int64_t groups) {
  context.require(context.rank(0) == 4, "expected an input [N, C, H, W]");
  context.require(context.rank(1) == 4, "expected a weight of four axes");
  context.require(groups >= 1 && input_channels == context.dims(0)[1] && input_channels % groups == 0,
                  "the input's channels do not match the weight and the groups");
}

int bias_of(const Compiler& compiler, const Node& node) {
  if (node.inputs.size() < 3 || node.inputs[2] == kAbsent) return kAbsent;
  QSLIM_REQUIRE(compiler.tensor(node.inputs[2]).is_constant(), node.op_type, " '", node.label,
                "': its bias must be a constant");
  return node.inputs[2];
}

void check_constant_weight(const Compiler& compiler, const Node& node) {
  QSLIM_REQUIRE(compiler.tensor(node.inputs[1]).is_constant(), node.op_type, " '", node.label,
                "': its weight must be a constant");
}

ConvExtents extents_of(const Dims& x, const Window& w, std::size_t channels_out) {
  ConvExtents e;
  e.batch = as_size(x[0]);
  e.in_h = as_size(x[2]);
  e.in_w = as_size(x[3]);
  e.out_h = as_size(w.out[0]);
  e.out_w = as_size(w.out[1]);
  e.pad_top = w.pad_begin[0];
  e.pad_left = w.pad_begin[1];
  e.x_pixel_stride = as_size(x[1]);
  e.y_pixel_stride = channels_out;
  e.y_row_stride = e.out_w * channels_out;
  e.y_image_stride = e.out_h * e.y_row_stride;
  return e;
}

// The taps and the outputs of a transposed convolution that belong to one residue along one axis.
struct Phase {
  std::int64_t first_tap, tap_step, taps;  // kh = first_tap + tap_step * j, j < taps
  std::int64_t first_out, outputs;         // oh = first_out + stride * o, o < outputs
  std::int64_t dilation, pad;              // of the ordinary convolution
};

Phase phase_of(std::int64_t residue, const Window& window, std::size_t axis) {
  const std::int64_t stride = window.stride[axis], dilation = window.dilation[axis];
  const std::int64_t kernel = window.kernel[axis], pad = window.pad_begin[axis], out = window.out[axis];
  const std::int64_t common = std::gcd(stride, dilation);
  Phase p;
  p.first_out = ((residue - pad) % stride + stride) % stride;
  p.outputs = p.first_out < out ? (out - p.first_out + stride - 1) / stride : 0;
  p.tap_step = stride / common;
  p.dilation = dilation / common;
  p.first_tap = 0;
  while (p.first_tap < p.tap_step && p.first_tap * dilation % stride != residue) ++p.first_tap;
  const bool reaches = p.first_tap < std::min(p.tap_step, kernel);
  if (!reaches) {
    p.first_tap = 0;
    p.taps = 1;
    p.pad = p.outputs;
    return p;
  }
  p.taps = (kernel - p.first_tap + p.tap_step - 1) / p.tap_step;
  // Output o reads input rows q + o - (taps - 1 - t) * dilation, q = (first_out + pad - first_tap * d) / s.
  p.pad = (p.taps - 1) * p.dilation - (p.first_out + pad - p.first_tap * dilation) / stride;
  return p;
}

// Return the places of the weights [OC, IC / groups, taps of h, taps of w] of one residue's convolution in
// the constant [IC, OC / groups, KH, KW]: the groups side by side, the taps from the last to the first.
std::vector<std::size_t> phase_weights(const Dims& w, std::int64_t groups, const Phase& h, const Phase& v) {
  const std::int64_t oc_group = w[1], ic_group = w[0] / groups;
  std::vector<std::size_t> order;
  order.reserve(as_size(oc_group * groups * ic_group * h.taps * v.taps));
  const auto append_taps = [&](std::int64_t in, std::int64_t out) {
    for (std::int64_t i = h.taps * v.taps; i-- > 0;) {
      const std::int64_t kh = h.first_tap + h.tap_step * (i / v.taps);
      const std::int64_t kw = v.first_tap + v.tap_step * (i % v.taps);
      order.push_back(as_size(((in * oc_group + out) * w[2] + kh) * w[3] + kw));
    }
  };
  for (std::int64_t o = 0; o < oc_group * groups; ++o) {
    for (std::int64_t i = 0; i < ic_group; ++i) append_taps(o / oc_group * ic_group + i, o % oc_group);
  }
  return order;
}

}  // namespace

void infer_Conv(InferContext& context) {
  const std::int64_t groups = context.attributes.integer("group", 1);
  const Dims& w = context.dims(1);
  context.require(context.rank(1) == 4 && groups >= 1 && w[0] % groups == 0 && w[0] > 0 && w[1] > 0,
                  "expected a weight [OC, IC / groups, KH, KW]");
  check_weights(context, w[1] * groups, groups);
  const Window window = window_of(context.node(), context.dims(0), w[2], w[3]);
  context.set_output(0, {context.dims(0)[0], w[0], window.out[0], window.out[1]}, DType::kFloat32);
}

bool splits_Conv(const InferContext&) { return true; }

void compile_Conv(Compiler& compiler, const Node& node) {
  check_constant_weight(compiler, node);
  const Dims &x = compiler.dims(node.inputs[0]), &w = compiler.dims(node.inputs[1]);
  const Window window = window_of(node, x, w[2], w[3]);
  LinearPart part;
  part.key = std::to_string(node.outputs[0]);
  part.geometry.input_channels = as_size(x[1]);
  part.geometry.output_channels = as_size(w[0]);
  part.geometry.groups = as_size(Attributes(node).integer("group", 1));
  part.geometry.kernel_h = as_size(w[2]);
  part.geometry.kernel_w = as_size(w[3]);
  part.geometry.stride_h = as_size(window.stride[0]);
  part.geometry.stride_w = as_size(window.stride[1]);
  part.geometry.dilation_h = as_size(window.dilation[0]);
  part.geometry.dilation_w = as_size(window.dilation[1]);
  part.extents = extents_of(x, window, part.geometry.output_channels);
  part.weights = Weights{node.inputs[1], {}, 0};
  Tail tail = absorb_tail(compiler, node, part.geometry.output_channels, 2, bias_of(compiler, node));
  emit_linear(compiler, node, node.inputs[0], Layout::kChannelsLast, {part}, std::move(tail));
}

void infer_ConvTranspose(InferContext& context) {
  const std::int64_t groups = context.attributes.integer("group", 1);
  const Dims& w = context.dims(1);
  context.require(context.rank(1) == 4 && w[0] > 0 && w[1] > 0,
                  "expected a weight [IC, OC / groups, KH, KW]");
  check_weights(context, w[0], groups);
  const Window window = transposed_window_of(context.node(), context.dims(0), w[2], w[3]);
  context.set_output(0, {context.dims(0)[0], w[1] * groups, window.out[0], window.out[1]}, DType::kFloat32);
}

bool splits_ConvTranspose(const InferContext&) { return true; }

void compile_ConvTranspose(Compiler& compiler, const Node& node) {
  check_constant_weight(compiler, node);
  const Dims &x = compiler.dims(node.inputs[0]), &w = compiler.dims(node.inputs[1]);
  const Window window = transposed_window_of(node, x, w[2], w[3]);
  // One convolution for each residue: no network has as many as this, files made to harm do.
  constexpr std::int64_t kMostResidues = 1024;
  QSLIM_REQUIRE(window.stride[0] <= kMostResidues && window.stride[1] <= kMostResidues / window.stride[0],
                "ConvTranspose '", node.label, "': strides ", window.stride[0], " and ", window.stride[1],
                " are too large, their product may be at most ", kMostResidues);
  const std::int64_t groups = Attributes(node).integer("group", 1);
  const std::int64_t oc = w[1] * groups;
  const ConvExtents whole = extents_of(x, window, as_size(oc));
  std::vector<LinearPart> parts;
  for (std::int64_t rh = 0; rh < window.stride[0]; ++rh) {
    for (std::int64_t rw = 0; rw < window.stride[1]; ++rw) {
      const Phase ph = phase_of(rh, window, 0), pw = phase_of(rw, window, 1);
      if (ph.outputs == 0 || pw.outputs == 0) continue;
      LinearPart part;
      part.key = std::to_string(node.outputs[0]) + " " + std::to_string(rh) + " " + std::to_string(rw);
      part.geometry.input_channels = as_size(w[0]);
      part.geometry.output_channels = as_size(oc);
      part.geometry.groups = as_size(groups);
      part.geometry.kernel_h = as_size(ph.taps);
      part.geometry.kernel_w = as_size(pw.taps);
      part.geometry.dilation_h = as_size(ph.dilation);
      part.geometry.dilation_w = as_size(pw.dilation);
      part.extents = whole;
      part.extents.out_h = as_size(ph.outputs);
      part.extents.out_w = as_size(pw.outputs);
      part.extents.pad_top = ph.pad;
      part.extents.pad_left = pw.pad;
      part.extents.y_pixel_stride = whole.y_pixel_stride * as_size(window.stride[1]);
      part.extents.y_row_stride = whole.y_row_stride * as_size(window.stride[0]);
      part.y_offset =
          as_size(ph.first_out) * whole.y_row_stride + as_size(pw.first_out) * whole.y_pixel_stride;
      part.weights.tensor = node.inputs[1];
      part.weights.channel_axis = 1;  // of one group; the scales repeat for each
      part.weights.order = phase_weights(w, groups, ph, pw);
      parts.push_back(std::move(part));
    }
  }
  Tail tail = absorb_tail(compiler, node, as_size(oc), 2, bias_of(compiler, node));
  emit_linear(compiler, node, node.inputs[0], Layout::kChannelsLast, std::move(parts), std::move(tail));
}

}  // namespace qslim::runtime
