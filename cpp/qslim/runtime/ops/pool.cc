// SPDX-License-Identifier: Apache-2.0
//
// Poolings. Maxima are taken on stored bytes, which have the order of the values; averages of quantized
// tensors are integer sums.
#include "qslim/kernels/pool/pool.h"

#include "qslim/runtime/ops/movement_steps.h"
#include "qslim/runtime/ops/pool_steps.h"
#include "qslim/runtime/ops/registry.h"
#include "qslim/runtime/ops/window.h"

namespace qslim::runtime {
namespace {

Window window_from_attributes(const Node& node, const Dims& x) {
  const std::vector<std::int64_t> kernel = Attributes(node).integers("kernel_shape");
  QSLIM_REQUIRE(kernel.size() == 2, node.op_type, " '", node.label,
                "': expected a kernel_shape of two extents");
  return window_of(node, x, kernel[0], kernel[1]);
}

Window whole_image(const Dims& x) {
  Window w;
  w.kernel[0] = x[2];
  w.kernel[1] = x[3];
  return w;
}

void infer_windowed(InferContext& context) {
  context.require_real(0);
  const Dims& x = context.dims(0);
  const Window w = window_from_attributes(context.node(), x);
  context.set_output(0, {x[0], x[1], w.out[0], w.out[1]}, context.input(0).dtype);
}

void infer_global(InferContext& context) {
  context.require_real(0);
  context.require(context.rank(0) == 4, "expected an input [N, C, H, W]");
  context.set_output(0, {context.dims(0)[0], context.dims(0)[1], 1, 1}, context.input(0).dtype);
}

QParams params_of(const Storage& storage) {
  return {storage.type.scale, storage.type.zero_point, storage.type.qmin, storage.type.qmax};
}

PoolGeometry geometry_of(const Dims& x, const Window& w) {
  PoolGeometry g;
  g.channels = as_size(x[1]);
  g.kernel_h = as_size(w.kernel[0]);
  g.kernel_w = as_size(w.kernel[1]);
  g.stride_h = as_size(w.stride[0]);
  g.stride_w = as_size(w.stride[1]);
  g.dilation_h = as_size(w.dilation[0]);
  g.dilation_w = as_size(w.dilation[1]);
  return g;
}

PoolExtents extents_of(const PoolGeometry& g, const Dims& x, const Window& w) {
  return contiguous_pool_extents(g, as_size(x[0]), as_size(x[2]), as_size(x[3]), as_size(w.out[0]),
                                 as_size(w.out[1]), w.pad_begin[0], w.pad_begin[1]);
}

Step step_of(const Compiler& compiler, const Node& node, const char* kernel, const Value& from,
             const Value& to) {
  Step step = compiler.step_for(node, kernel, from.storage.is_quantized() ? "int8" : "float32");
  step.reads = {from.buffer};
  step.writes = {to.buffer};
  return step;
}

void compile_max(Compiler& compiler, const Node& node, const Window& w) {
  const int x = node.inputs[0], y = node.outputs[0];
  const Value from = compiler.storage(x) == compiler.storage(y) ? compiler.get(x, Layout::kChannelsLast)
                                                                : compiler.get_real(x, Layout::kChannelsLast);
  const PoolGeometry g = geometry_of(from.dims, w);
  const PoolExtents extents = extents_of(g, from.dims, w);
  const Value to = define_or_round_later(compiler, y, Layout::kChannelsLast, from.storage);
  Step step = step_of(compiler, node, "max_pool", from, to);
  const bool is_quantized = from.storage.is_quantized();
  step.run = [=, a = from.buffer, b = to.buffer](const Execution& e) {
    if (is_quantized) {
      max_pool(e.context, g, extents, e.at<const std::uint8_t>(a), e.at<std::uint8_t>(b));
    } else {
      max_pool(e.context, g, extents, e.at<const float>(a), e.at<float>(b));
    }
  };
  compiler.emit(std::move(step));
  round_if_needed(compiler, y, to);
}

void emit_average(Compiler& compiler, const Node& node, const Window& w, bool count_includes_pad,
                  const Dims& image_dims) {
  const int x = node.inputs[0], y = node.outputs[0];
  // Sums of more bytes could leave int32.
  const bool fits = w.kernel[0] * w.kernel[1] <= (std::int64_t{1} << 23);
  const Value from =
      fits ? compiler.get(x, Layout::kChannelsLast) : compiler.get_real(x, Layout::kChannelsLast);
  PoolGeometry g = geometry_of(image_dims, w);
  g.count_includes_pad = count_includes_pad;
  const PoolExtents extents = extents_of(g, image_dims, w);
  const bool from_bytes = from.storage.is_quantized(),
             to_bytes = from_bytes && compiler.storage(y).is_quantized();
  const Value to = define_or_round_later(compiler, y, Layout::kChannelsLast,
                                         to_bytes ? compiler.storage(y) : real_storage());
  Step step = step_of(compiler, node, "average_pool", from, to);
  const QParams source = params_of(from.storage), target = params_of(to.storage);
  step.run = [=, a = from.buffer, b = to.buffer](const Execution& e) {
    if (to_bytes) {
      average_pool(e.context, g, extents, e.at<const std::uint8_t>(a), source, e.at<std::uint8_t>(b), target);
    } else if (from_bytes) {
      average_pool(e.context, g, extents, e.at<const std::uint8_t>(a), source, e.at<float>(b));
    } else {
      average_pool(e.context, g, extents, e.at<const float>(a), e.at<float>(b));
    }
  };
  compiler.emit(std::move(step));
  round_if_needed(compiler, y, to);
}

}  // namespace

void emit_global_average(Compiler& compiler, const Node& node) {
  const Dims& x = compiler.dims(node.inputs[0]);
  emit_average(compiler, node, whole_image(x), false, x);
}

void infer_MaxPool(InferContext& context) { infer_windowed(context); }
bool splits_MaxPool(const InferContext&) { return true; }
void compile_MaxPool(Compiler& compiler, const Node& node) {
  QSLIM_REQUIRE(node.outputs.size() == 1 || node.outputs[1] == kAbsent, "MaxPool '", node.label,
                "': indices are not computed here");
  compile_max(compiler, node, window_from_attributes(node, compiler.dims(node.inputs[0])));
}

void infer_AveragePool(InferContext& context) { infer_windowed(context); }
bool splits_AveragePool(const InferContext&) { return true; }
void compile_AveragePool(Compiler& compiler, const Node& node) {
  const Dims& x = compiler.dims(node.inputs[0]);
  emit_average(compiler, node, window_from_attributes(node, x),
               Attributes(node).integer("count_include_pad", 0) != 0, x);
}

void infer_GlobalMaxPool(InferContext& context) { infer_global(context); }
bool splits_GlobalMaxPool(const InferContext&) { return true; }
void compile_GlobalMaxPool(Compiler& compiler, const Node& node) {
  compile_max(compiler, node, whole_image(compiler.dims(node.inputs[0])));
}

void infer_GlobalAveragePool(InferContext& context) { infer_global(context); }
bool splits_GlobalAveragePool(const InferContext&) { return true; }
void compile_GlobalAveragePool(Compiler& compiler, const Node& node) { emit_global_average(compiler, node); }

}  // namespace qslim::runtime
