// SPDX-License-Identifier: Apache-2.0
#include "qslim/runtime/lowering/pooling.h"

#include "qslim/kernels/pool/pool.h"
#include "qslim/runtime/lowering/conversions.h"

namespace qslim::runtime {
namespace {

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

}  // namespace

Window whole_image(const Dims& x) {
  Window w;
  w.kernel[0] = x[2];
  w.kernel[1] = x[3];
  return w;
}

void emit_max_pool(Compiler& compiler, const Node& node, const Window& w) {
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

void emit_average_pool(Compiler& compiler, const Node& node, const Window& w, bool count_includes_pad,
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

void emit_global_average(Compiler& compiler, const Node& node) {
  const Dims& x = compiler.dims(node.inputs[0]);
  emit_average_pool(compiler, node, whole_image(x), false, x);
}

}  // namespace qslim::runtime
