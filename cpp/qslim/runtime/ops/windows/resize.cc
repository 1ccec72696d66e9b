// SPDX-License-Identifier: Apache-2.0
//
// Resize of images over H and W, nearest, linear or cubic.
#include "qslim/kernels/resize/resize.h"

#include <cmath>

#include "qslim/runtime/lowering/conversions.h"
#include "qslim/runtime/ops/registry.h"

namespace qslim::runtime {
namespace {

struct Resizing {
  std::int64_t out[2];
  float scale[2];  // output over input, along H and W
};

// Entry of an operand that has one for each axis, or one for each of H and W (attribute axes).
template <class T>
T entry(const InferContext& context, const std::vector<T>& values, std::size_t i) {
  context.require(values.size() == 4 || values.size() == 2,
                  "expected scales or sizes for all four axes or for two");
  return values.size() == 4 ? values[2 + i] : values[i];
}

Resizing resizing_of(const InferContext& context) {
  context.require(context.rank(0) == 4, "expected an input [N, C, H, W]");
  const std::vector<std::int64_t> axes = context.attributes.integers("axes");
  context.require(axes.empty() || axes == std::vector<std::int64_t>{2, 3}, "only H and W can be resized");
  const Dims& x = context.dims(0);
  Resizing r{};
  const bool has_sizes = context.has_input(3);
  if (has_sizes && context.integers(3).size() == 4) {
    context.require(context.integers(3)[0] == x[0] && context.integers(3)[1] == x[1],
                    "only H and W can be resized");
  } else if (!has_sizes && context.floats(2).size() == 4) {
    context.require(context.floats(2)[0] == 1 && context.floats(2)[1] == 1, "only H and W can be resized");
  }
  for (std::size_t i = 0; i < 2; ++i) {
    const std::int64_t in = x[2 + i];
    if (has_sizes) {
      r.out[i] = entry(context, context.integers(3), i);
      r.scale[i] = static_cast<float>(r.out[i]) / static_cast<float>(in);
    } else {
      r.scale[i] = entry(context, context.floats(2), i);
      context.require(r.scale[i] > 0 && r.scale[i] <= 65536, "a scale is out of range");
      r.out[i] = static_cast<std::int64_t>(std::floor(static_cast<double>(in) * r.scale[i]));
    }
    context.require(r.out[i] >= 1 && r.out[i] <= (1 << 16), "a size is out of range");
  }
  return r;
}

ResizeCoordinates coordinates_of(const Node& node) {
  const std::string name = Attributes(node).text("coordinate_transformation_mode", "half_pixel");
  if (name == "half_pixel") return ResizeCoordinates::kHalfPixel;
  if (name == "pytorch_half_pixel") return ResizeCoordinates::kPytorchHalfPixel;
  if (name == "align_corners") return ResizeCoordinates::kAlignCorners;
  QSLIM_REQUIRE(name == "asymmetric", "Resize '", node.label, "': coordinate_transformation_mode '", name,
                "' is not supported");
  return ResizeCoordinates::kAsymmetric;
}

NearestRounding rounding_of(const Node& node) {
  const std::string name = Attributes(node).text("nearest_mode", "round_prefer_floor");
  if (name == "round_prefer_floor") return NearestRounding::kPreferFloor;
  if (name == "round_prefer_ceil") return NearestRounding::kPreferCeil;
  if (name == "floor") return NearestRounding::kFloor;
  QSLIM_REQUIRE(name == "ceil", "Resize '", node.label, "': nearest_mode '", name, "' is not supported");
  return NearestRounding::kCeil;
}

}  // namespace

void infer_Resize(InferContext& context) {
  const std::string mode = context.attributes.text("mode", "nearest");
  context.require(mode == "nearest" || mode == "linear" || mode == "cubic",
                  "the modes are nearest, linear and cubic");
  context.require(mode != "cubic" || context.attributes.integer("exclude_outside", 0) == 0,
                  "exclude_outside is not supported");
  const float a = context.attributes.real("cubic_coeff_a", -0.75);
  context.require(a >= -4 && a <= 4, "cubic_coeff_a is out of range");
  coordinates_of(context.node());
  rounding_of(context.node());
  const Resizing r = resizing_of(context);
  context.set_output(0, {context.dims(0)[0], context.dims(0)[1], r.out[0], r.out[1]}, context.input(0).dtype);
}

bool splits_Resize(const InferContext&) { return true; }

void compile_Resize(Compiler& compiler, const Node& node) {
  const int x = node.inputs[0], y = node.outputs[0];
  const Resizing r = compiler.with_context(node, resizing_of);
  const std::string mode = Attributes(node).text("mode", "nearest");
  const bool is_nearest = mode == "nearest", is_cubic = mode == "cubic";
  const Value from =
      is_nearest ? compiler.get(x, Layout::kChannelsLast) : compiler.get_real(x, Layout::kChannelsLast);
  const Value to = define_or_round_later(compiler, y, Layout::kChannelsLast, from.storage);
  ResizeExtents extents;
  extents.batch = static_cast<std::size_t>(from.dims[0]);
  extents.channels = extents.x_pixel_stride = extents.y_pixel_stride = static_cast<std::size_t>(from.dims[1]);
  extents.in_h = static_cast<std::size_t>(from.dims[2]);
  extents.in_w = static_cast<std::size_t>(from.dims[3]);
  extents.y_row_stride = static_cast<std::size_t>(r.out[1]) * extents.channels;
  extents.y_image_stride = static_cast<std::size_t>(r.out[0]) * extents.y_row_stride;
  const ResizeCoordinates coordinates = coordinates_of(node);
  const auto out_h = static_cast<std::size_t>(r.out[0]), out_w = static_cast<std::size_t>(r.out[1]);
  Step step = compiler.step_for(node,
                                is_nearest ? "resize_nearest"
                                : is_cubic ? "resize_cubic"
                                           : "resize_bilinear",
                                to.storage.is_quantized() ? "int8" : "float32");
  step.reads = {from.buffer};
  step.writes = {to.buffer};
  const std::size_t size = size_of(from.dtype);
  if (is_nearest) {
    const auto rows = nearest_table(extents.in_h, out_h, r.scale[0], coordinates, rounding_of(node));
    const auto columns = nearest_table(extents.in_w, out_w, r.scale[1], coordinates, rounding_of(node));
    step.run = [=, a = from.buffer, b = to.buffer](const Execution& e) {
      resize_nearest(e.context, size, extents, rows, columns, e.at<void>(a), e.at<void>(b));
    };
  } else if (is_cubic) {
    const float coefficient = Attributes(node).real("cubic_coeff_a", -0.75);
    const auto rows = cubic_table(extents.in_h, out_h, r.scale[0], coordinates, coefficient);
    const auto columns = cubic_table(extents.in_w, out_w, r.scale[1], coordinates, coefficient);
    step.run = [=, a = from.buffer, b = to.buffer](const Execution& e) {
      resize_cubic(e.context, extents, rows, columns, e.at<float>(a), e.at<float>(b));
    };
  } else {
    const auto rows = linear_table(extents.in_h, out_h, r.scale[0], coordinates);
    const auto columns = linear_table(extents.in_w, out_w, r.scale[1], coordinates);
    step.run = [=, a = from.buffer, b = to.buffer](const Execution& e) {
      resize_bilinear(e.context, extents, rows, columns, e.at<float>(a), e.at<float>(b));
    };
  }
  compiler.emit(std::move(step));
  round_if_needed(compiler, y, to);
}

}  // namespace qslim::runtime
