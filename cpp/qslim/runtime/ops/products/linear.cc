// SPDX-License-Identifier: Apache-2.0
#include "qslim/runtime/ops/products/linear.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <utility>

#include "qslim/kernels/conv/conv_f32.h"
#include "qslim/kernels/conv/conv_u8s8.h"

namespace qslim::runtime {
namespace {

// Longer sums could leave int32: 255 * 128 * K.
constexpr std::size_t kMaxProducts = 65000;

template <class T>
std::vector<T> reordered(const T* values, std::size_t count, const std::vector<std::size_t>& order) {
  if (order.empty()) return std::vector<T>(values, values + count);
  std::vector<T> result;
  result.reserve(order.size());
  for (const std::size_t i : order) result.push_back(values[i]);
  return result;
}

// Return fl(sx * sw) of each output channel.
std::vector<float> product_scales(const Compiler& compiler, int x, const Weights& weights,
                                  std::size_t channels) {
  const std::vector<float>& scale = compiler.tensor(weights.tensor).quantization->scale;
  std::vector<float> products(channels);
  for (std::size_t i = 0; i < channels; ++i) {
    products[i] = compiler.storage(x).type.scale * scale[i % scale.size()];
  }
  return products;
}

std::size_t products_of(const ConvGeometry& g) {
  return g.input_channels / g.groups * g.kernel_h * g.kernel_w;
}

std::int64_t macs_of(const ConvGeometry& g, const ConvExtents& e) {
  return static_cast<std::int64_t>(e.batch * e.out_h * e.out_w * g.output_channels *
                                   (g.input_channels / g.groups) * g.kernel_h * g.kernel_w);
}

// Return how results of type `type`, clamped to [lo, hi] before that, are quantized.
RequantizedOutput requantized_output(const ElementwiseType& type, float lo, float hi) {
  RequantizedOutput output;
  output.inverse_scale = 1.0f / type.scale;
  output.zero_point = static_cast<std::uint8_t>(type.zero_point);
  const auto stored = [&](float bound) {
    const float steps = std::nearbyint(bound * output.inverse_scale) + static_cast<float>(type.zero_point);
    return static_cast<std::uint8_t>(
        std::min(std::max(steps, static_cast<float>(type.qmin)), static_cast<float>(type.qmax)));
  };
  output.lo = stored(lo), output.hi = stored(hi);
  return output;
}

// Return why the product of `x` with the weights cannot run in int8; empty if it can, as far as types go.
std::string reason_of_types(const Compiler& compiler, int x, const LinearPart& part) {
  const Tensor& tensor = compiler.tensor(part.weights.tensor);
  if (!compiler.storage(x).is_quantized()) return "its input is not quantized to 8 bits";
  if (!tensor.quantization || !tensor.quantization->fits_a_byte())
    return "its weight is not quantized to 8 bits";
  const Quantization& q = *tensor.quantization;
  if (q.group_size != 0) return "its weight has several scales for an output channel";
  // Of a grouped ConvTranspose the scales are those of one group.
  const bool per_output = q.scale.size() == 1 || (q.quant_axis == part.weights.channel_axis &&
                                                  part.geometry.output_channels % q.scale.size() == 0);
  if (!per_output) return "its weight's scales do not run along the output channels";
  if (q.is_unsigned() || q.zero_point != 0) return "its weight is not quantized symmetrically";
  if (products_of(part.geometry) > kMaxProducts) return "its sums could leave int32";
  return "";
}

// A product whose steps are to be emitted.
struct Product {
  const Node& node;
  int x;
  Layout layout;
  std::vector<LinearPart> parts;
  Tail tail;
  std::string reason_for_float;   // empty: it runs in int8
  std::vector<float> multiplier;  // of int8: sx * sw of each output channel
  int x_buffer = kAbsent;

  bool is_int8() const noexcept { return reason_for_float.empty(); }
};

// Decide between int8 and float32.
void choose_type(const Compiler& compiler, Product& product) {
  const LinearPart& part = product.parts[0];
  product.reason_for_float = reason_of_types(compiler, product.x, part);
  if (!product.is_int8()) return;
  product.multiplier = product_scales(compiler, product.x, part.weights, part.geometry.output_channels);
  // Scales of 2^-126 to 2^126 are legal; their products may leave float.
  const auto is_normal = [](float m) { return std::isnormal(m); };
  const auto is_finite = [](float b) { return std::isfinite(b); };
  const std::vector<float>&multiplier = product.multiplier, &bias = product.tail.bias;
  if (!std::all_of(multiplier.begin(), multiplier.end(), is_normal) ||
      !std::all_of(bias.begin(), bias.end(), is_finite)) {
    product.reason_for_float = "its scales leave the range of float32";
  }
}

// ---- weights, packed once for all plans of a session ----

std::shared_ptr<const ConvU8S8> packed_int8(Compiler& compiler, const Product& product,
                                            const LinearPart& part) {
  // Plans may differ in the nodes that follow, and so in the tensor that the results go to.
  const std::string key = "int8 " + part.key + " to " + std::to_string(product.tail.result);
  return compiler.weights().get<ConvU8S8>(key, [&] {
    const Tensor& tensor = compiler.tensor(part.weights.tensor);
    const std::vector<std::int8_t> stored = signed_integers(tensor);
    const std::vector<std::int8_t> weights = reordered(stored.data(), stored.size(), part.weights.order);
    const auto zero_point = static_cast<std::uint8_t>(compiler.storage(product.x).type.zero_point);
    ConvU8S8 conv(compiler.isa(), part.geometry, weights, zero_point, product.multiplier, product.tail.bias);
    compiler.weights().add_bytes(conv.packed_bytes());
    return conv;
  });
}

std::shared_ptr<const ConvF32> packed_float(Compiler& compiler, const Product& product,
                                            const LinearPart& part) {
  const std::string key = (product.tail.bias.empty() ? "float " : "float with bias ") + part.key;
  return compiler.weights().get<ConvF32>(key, [&] {
    const std::vector<float> floats = compiler.constant_floats(part.weights.tensor);
    const std::vector<float> weights = reordered(floats.data(), floats.size(), part.weights.order);
    ConvF32 conv(compiler.isa(), part.geometry, weights, product.tail.bias);
    compiler.weights().add_bytes(conv.packed_bytes());
    return conv;
  });
}

// ---- steps ----

// Return the step of one part, without its run.
template <class Conv>
Step step_of_part(const Compiler& compiler, const Product& product, const LinearPart& part, const Conv& conv,
                  int result) {
  Step step = compiler.step_for(product.node, conv.kernel_name(), product.is_int8() ? "int8" : "float32");
  step.op += product.tail.names;
  step.reason = product.reason_for_float;
  step.macs = macs_of(part.geometry, part.extents);
  step.scratch_bytes = conv.scratch_bytes(part.extents, compiler.num_threads());
  step.reads = {product.x_buffer};
  step.writes = {result};
  return step;
}

// Emit a part that quantizes its results in the kernel, to buffer `result`. `residual` is the buffer of what
// is added before, or kAbsent.
void emit_requantized_part(Compiler& compiler, const Product& product, const LinearPart& part,
                           std::shared_ptr<const ConvU8S8> conv, const RequantizedOutput& output, int result,
                           int residual = kAbsent) {
  Step step = step_of_part(compiler, product, part, *conv, result);
  if (residual != kAbsent) step.reads.push_back(residual);
  step.run = [conv, output, extents = part.extents, offset = part.y_offset, x = product.x_buffer, y = result,
              residual](const Execution& e) {
    RequantizedOutput here = output;
    here.y = e.at<std::uint8_t>(y) + offset;
    if (residual != kAbsent) here.residual = e.at<std::uint8_t>(residual);
    conv->run(e.context, extents, e.at<std::uint8_t>(x), here, e.scratch);
  };
  compiler.emit(std::move(step));
}

void emit_requantized(Compiler& compiler, const Product& product) {
  const Value result =
      compiler.define(product.tail.result, product.layout, compiler.storage(product.tail.result));
  const RequantizedOutput output = requantized_output(result.storage.type, product.tail.lo, product.tail.hi);
  for (const LinearPart& part : product.parts) {
    emit_requantized_part(compiler, product, part, packed_int8(compiler, product, part), output,
                          result.buffer);
  }
}

// Emit a product whose kernel also computes the chain, a sum with a tensor of bytes or a HardSwish, before it
// quantizes; return false, with nothing changed, if the chain is neither or the kernel cannot.
bool emit_with_chain_in_kernel(Compiler& compiler, Product& product, const Chain& chain) {
  const auto sum = chain.as_sum();
  const Storage& storage = compiler.storage(chain.result());
  if (!(sum || chain.is_hard_swish()) || !product.is_int8() || !storage.is_quantized()) return false;
  const LinearPart& part = product.parts[0];
  const ConvExtents& e = part.extents;
  const std::size_t channels = part.geometry.output_channels;
  const bool writes_all = product.parts.size() == 1 && part.y_offset == 0 && e.y_pixel_stride == channels &&
                          e.y_row_stride == e.out_w * channels &&
                          e.y_image_stride == e.out_h * e.y_row_stride;
  if (!writes_all) return false;
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  RequantizedOutput output =
      requantized_output(storage.type, sum ? sum->lo : -kInfinity, sum ? sum->hi : kInfinity);
  const auto conv = packed_int8(compiler, product, part);
  if (sum) {
    output.residual_scale = sum->operand.scale;
    output.residual_zero_point = static_cast<std::uint8_t>(sum->operand.zero_point);
    if (!conv->adds_residuals(output.inverse_scale, output.residual_scale)) return false;
  } else {
    output.has_hard_swish = true;
    if (!conv->applies_hard_swish(output.inverse_scale)) return false;
  }
  product.tail.names += "+" + chain.names();
  const Value result = compiler.define(chain.result(), product.layout, storage);
  emit_requantized_part(compiler, product, part, conv, output, result.buffer, sum ? sum->buffer : kAbsent);
  return true;
}

// The destination of a kernel's real results: a float buffer, or a chain of operators while they are in the
// cache.
struct RealDestination {
  int buffer = kAbsent;
  std::size_t offset = 0;
  std::shared_ptr<const Chain::Compiled> chain;  // null: to the buffer

  int result() const { return chain == nullptr ? buffer : chain->result.buffer; }
};

// A chain during a run, with the addresses of its operands.
struct RunningChain {
  const Chain::Compiled* chain;
  const void* operands[Elementwise::kMaxOperands];
  void* result;

  RunningChain(const Chain::Compiled& compiled, const Execution& e)
      : chain(&compiled), result(e.at<void>(compiled.result.buffer)) {
    operands[0] = nullptr;  // the rows themselves
    for (std::size_t i = 1; i < compiled.operands.size(); ++i) operands[i] = e.at<void>(compiled.operands[i]);
  }
};

void take_rows(const void* self, std::size_t first, std::size_t pixels, const float* rows) {
  const auto& running = *static_cast<const RunningChain*>(self);
  const Chain::Compiled& chain = *running.chain;
  chain.program.run_rows(chain.extents, {running.operands, chain.operands.size()}, running.result, first,
                         pixels, rows);
}

// Call run(y, sink) with the destination in memory.
template <class Run>
void run_to(const RealDestination& destination, const Execution& e, const Run& run) {
  if (destination.chain == nullptr) {
    run(e.at<float>(destination.buffer) + destination.offset, PixelSink{});
  } else {
    const RunningChain running(*destination.chain, e);
    run(nullptr, PixelSink{&running, take_rows});
  }
}

// Emit one part, whose results are real values.
void emit_real(Compiler& compiler, const Product& product, const LinearPart& part,
               const RealDestination& destination) {
  Step step;
  if (product.is_int8()) {
    const auto conv = packed_int8(compiler, product, part);
    step = step_of_part(compiler, product, part, *conv, destination.result());
    step.run = [conv, destination, extents = part.extents, x = product.x_buffer](const Execution& e) {
      run_to(destination, e, [&](float* y, const PixelSink& sink) {
        conv->run(e.context, extents, e.at<std::uint8_t>(x), RealOutput{y, sink}, e.scratch);
      });
    };
  } else {
    const auto conv = packed_float(compiler, product, part);
    step = step_of_part(compiler, product, part, *conv, destination.result());
    step.run = [conv, destination, extents = part.extents, x = product.x_buffer, lo = product.tail.lo,
                hi = product.tail.hi](const Execution& e) {
      run_to(destination, e, [&](float* y, const PixelSink& sink) {
        conv->run(e.context, extents, e.at<float>(x), FloatOutput{lo, hi, y, sink}, e.scratch);
      });
    };
  }
  if (destination.chain != nullptr) {
    const std::vector<int>& operands = destination.chain->operands;
    step.reads.insert(step.reads.end(), operands.begin() + 1, operands.end());
  }
  compiler.emit(std::move(step));
}

void emit_real_parts(Compiler& compiler, const Product& product, int buffer) {
  for (const LinearPart& part : product.parts) {
    emit_real(compiler, product, part, {buffer, part.y_offset, nullptr});
  }
}

// Emit parts with real results, and the operators that can be fused behind them.
void emit_with_chain(Compiler& compiler, Product& product) {
  const int result = product.tail.result;
  Chain chain(compiler, result, product.layout, result);
  if (product.is_int8() && product.tail.clamps()) chain.clamp(product.tail.lo, product.tail.hi);
  chain.grow();
  if (chain.empty() && !compiler.storage(result).is_quantized()) {
    emit_real_parts(compiler, product, compiler.define(result, product.layout, real_storage()).buffer);
    return;
  }
  if (emit_with_chain_in_kernel(compiler, product, chain)) return;
  auto compiled = std::make_shared<Chain::Compiled>(chain.compile());
  product.tail.names += chain.names().empty() ? "" : "+" + chain.names();
  if (product.parts.size() == 1 && product.parts[0].y_offset == 0) {  // one part writes all of the result
    emit_real(compiler, product, product.parts[0], {kAbsent, 0, compiled});
  } else {
    const auto elements = static_cast<std::size_t>(element_count(compiler.dims(result)));
    const int buffer = compiler.new_buffer(elements * sizeof(float));
    emit_real_parts(compiler, product, buffer);
    compiled->operands[0] = buffer;
    emit_chain(compiler, product.node, product.tail.names, *compiled);
  }
}

}  // namespace

void emit_chain(Compiler& compiler, const Node& node, const std::string& names,
                const Chain::Compiled& chain) {
  Step step = compiler.step_for(node, chain.program.kernel_name(), "float32");
  step.op = names;
  step.reads = chain.operands;
  step.writes = {chain.result.buffer};
  step.run = [chain](const Execution& e) { run_chain(chain, e); };
  compiler.emit(std::move(step));
}

void emit_linear(Compiler& compiler, const Node& node, int x, Layout layout, std::vector<LinearPart> parts,
                 Tail tail) {
  Product product{node, x, layout, std::move(parts), std::move(tail), {}, {}, kAbsent};
  choose_type(compiler, product);
  const Value value = product.is_int8() ? compiler.get(x, layout) : compiler.get_real(x, layout);
  product.x_buffer = compiler.with_slack(x, value).buffer;
  if (product.is_int8() && compiler.storage(product.tail.result).is_quantized()) {
    emit_requantized(compiler, product);
  } else {
    emit_with_chain(compiler, product);
  }
}

}  // namespace qslim::runtime
