// SPDX-License-Identifier: Apache-2.0
#include "qslim/runtime/ops/products/linear.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <utility>

#include "qslim/kernels/conv/conv_f32.h"
#include "qslim/kernels/conv/conv_u8s8.h"
#include "qslim/runtime/lowering/chain.h"

namespace qslim::runtime {
namespace {

// Longer sums could leave int32: 255 * 128 * K.
constexpr std::size_t kMaxProducts = 65000;

// The constant operand of an Add, one value per channel, if it is that.
std::vector<float> channel_constant(const Compiler& compiler, int id, std::size_t rank, std::size_t channels,
                                    std::size_t axes_behind) {
  const Tensor& tensor = compiler.tensor(id);
  if (!tensor.is_constant() || tensor.dtype != DType::kFloat32) return {};
  const Dims& dims = compiler.dims(id);
  if (dims.size() > rank) return {};
  for (std::size_t i = 0; i < dims.size(); ++i) {
    const std::size_t from_end = dims.size() - 1 - i;
    if (dims[i] != 1 && (from_end != axes_behind || dims[i] != static_cast<std::int64_t>(channels)))
      return {};
  }
  std::vector<float> values = compiler.constant_floats(id);
  if (values.size() == 1) values.assign(channels, values[0]);
  return values.size() == channels ? values : std::vector<float>{};
}

bool absorb_add(Compiler& compiler, const Node& node, std::size_t channels, std::size_t axes_behind,
                Tail& tail) {
  if (node.op_type != "Add" || tail.clamps() || !tail.bias.empty()) return false;
  const int other = node.inputs[0] == tail.result ? node.inputs[1] : node.inputs[0];
  if (other == tail.result) return false;
  const std::vector<float> values =
      channel_constant(compiler, other, compiler.dims(tail.result).size(), channels, axes_behind);
  tail.bias = values;
  return !values.empty();
}

bool absorb_clamp(Compiler& compiler, const Node& node, Tail& tail) {
  float lo = -std::numeric_limits<float>::infinity(), hi = std::numeric_limits<float>::infinity();
  if (node.op_type == "Relu") {
    lo = 0;
  } else if (node.op_type == "Clip") {
    for (std::size_t i = 1; i < node.inputs.size(); ++i) {
      if (node.inputs[i] == kAbsent) continue;
      if (!compiler.tensor(node.inputs[i]).is_constant() ||
          element_count(compiler.dims(node.inputs[i])) != 1) {
        return false;
      }
      (i == 1 ? lo : hi) = compiler.constant_floats(node.inputs[i])[0];
    }
  } else {
    return false;
  }
  if (!(lo <= hi) || tail.clamps()) return false;
  tail.lo = lo;
  tail.hi = hi;
  return true;
}

template <class T>
std::vector<T> reordered(const T* values, std::size_t count, const std::vector<std::size_t>& order) {
  if (order.empty()) return std::vector<T>(values, values + count);
  std::vector<T> result;
  result.reserve(order.size());
  for (const std::size_t i : order) result.push_back(values[i]);
  return result;
}

// fl(sx * sw) of each output channel.
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

// The grid's positions between which a clamp of real values leaves a result.
std::pair<std::uint8_t, std::uint8_t> stored_bounds(const Tail& tail, const ElementwiseType& type) {
  const float inverse_scale = 1.0f / type.scale;
  const auto position = [&](float bound) {
    const float steps = std::nearbyint(bound * inverse_scale) + static_cast<float>(type.zero_point);
    return static_cast<std::uint8_t>(
        std::min(std::max(steps, static_cast<float>(type.qmin)), static_cast<float>(type.qmax)));
  };
  return {position(tail.lo), position(tail.hi)};
}

// What takes a kernel's real results and finishes them: a chain and where its operands are.
struct SinkState {
  const Chain::Compiled* chain;
  const void* operands[Elementwise::kMaxOperands];
  void* result;
};

void take_rows(const void* self, std::size_t first, std::size_t pixels, const float* rows) {
  const auto& state = *static_cast<const SinkState*>(self);
  state.chain->program.run_rows(state.chain->extents, {state.operands, state.chain->operands.size()},
                                state.result, first, pixels, rows);
}

// Why the product of `x` with the weights does not run in int8; empty if it does.
std::string reason_for_float(const Compiler& compiler, int x, const LinearPart& part) {
  const Tensor& tensor = compiler.tensor(part.weights.tensor);
  if (!compiler.storage(x).is_quantized()) return "its input is not quantized to 8 bits";
  if (!tensor.quantization || !tensor.quantization->fits_a_byte())
    return "its weight is not quantized to 8 bits";
  const Quantization& q = *tensor.quantization;
  // Of a grouped ConvTranspose the scales are those of one group.
  const bool per_output = q.scale.size() == 1 || (q.quant_axis == part.weights.channel_axis &&
                                                  part.geometry.output_channels % q.scale.size() == 0);
  if (!per_output) return "its weight's scales do not run along the output channels";
  if (q.is_unsigned() || q.zero_point != 0) return "its weight's grid is not symmetric";
  if (products_of(part.geometry) > kMaxProducts) return "its sums could leave int32";
  return "";
}

class Emitter {
 public:
  Emitter(Compiler& compiler, const Node& node, int x, Layout layout, std::vector<LinearPart> parts,
          Tail tail)
      : compiler_(compiler),
        node_(node),
        x_(x),
        layout_(layout),
        parts_(std::move(parts)),
        tail_(std::move(tail)),
        reason_(reason_for_float(compiler, x, parts_[0])),
        is_int8_(reason_.empty()) {
    if (!is_int8_) return;
    multiplier_ = product_scales(compiler_, x_, parts_[0].weights, parts_[0].geometry.output_channels);
    bias_ = tail_.bias;
    // Scales of 2^-126 to 2^126 are legal; their products may leave float.
    is_int8_ =
        std::all_of(multiplier_.begin(), multiplier_.end(), [](float m) { return std::isnormal(m); }) &&
        std::all_of(bias_.begin(), bias_.end(), [](float b) { return std::isfinite(b); });
    if (!is_int8_) reason_ = "its scales leave the range of float32";
  }

  void emit() {
    x_value_ = is_int8_ ? compiler_.get(x_, layout_) : compiler_.get_real(x_, layout_);
    x_value_ = compiler_.with_slack(x_, x_value_);
    const bool is_rounded = compiler_.storage(tail_.result).is_quantized();
    if (is_int8_ && is_rounded) {
      emit_requantized();
      return;
    }
    Chain chain(compiler_, tail_.result, layout_, tail_.result);
    if (is_int8_ && tail_.clamps()) chain.clamp(tail_.lo, tail_.hi);
    chain.grow();
    if (chain.empty() && !is_rounded) {
      emit_real(compiler_.define(tail_.result, layout_, real_storage()).buffer);
      return;
    }
    const bool is_whole = parts_.size() == 1 && parts_[0].y_offset == 0;
    auto compiled = std::make_shared<Chain::Compiled>(chain.compile());
    tail_.names += chain.names().empty() ? "" : "+" + chain.names();
    if (is_whole) {
      emit_with_sink(compiled);
    } else {
      const int whole = compiler_.new_buffer(real_bytes());
      emit_real(whole);
      compiled->operands[0] = whole;
      emit_chain(*compiled);
    }
  }

 private:
  std::size_t real_bytes() const {
    return static_cast<std::size_t>(element_count(compiler_.dims(tail_.result))) * sizeof(float);
  }

  std::shared_ptr<const ConvU8S8> packed_int8(const LinearPart& part) const {
    // Plans may differ in what follows, and so in where the results go.
    const std::string key = "int8 " + part.key + " to " + std::to_string(tail_.result);
    return compiler_.weights().get<ConvU8S8>(key, [&] {
      const Tensor& tensor = compiler_.tensor(part.weights.tensor);
      const auto count = static_cast<std::size_t>(element_count(*tensor.shape));
      const auto* stored = reinterpret_cast<const std::int8_t*>(tensor.data);
      const std::vector<std::int8_t> weights = reordered(stored, count, part.weights.order);
      const auto zero_point = static_cast<std::uint8_t>(compiler_.storage(x_).type.zero_point);
      ConvU8S8 conv(compiler_.isa(), part.geometry, weights, zero_point, multiplier_, bias_);
      compiler_.weights().add_bytes(conv.packed_bytes());
      return conv;
    });
  }

  std::shared_ptr<const ConvF32> packed_float(const LinearPart& part) const {
    return compiler_.weights().get<ConvF32>(
        (tail_.bias.empty() ? "float " : "float with bias ") + part.key, [&] {
          const std::vector<float> floats = compiler_.constant_floats(part.weights.tensor);
          const std::vector<float> weights = reordered(floats.data(), floats.size(), part.weights.order);
          ConvF32 conv(compiler_.isa(), part.geometry, weights, tail_.bias);
          compiler_.weights().add_bytes(conv.packed_bytes());
          return conv;
        });
  }

  Step step_of(const LinearPart& part, const char* kernel, std::size_t scratch, int result) const {
    const char* type = is_int8_ ? "int8" : "float32";
    Step step = compiler_.step_for(node_, kernel, type);
    step.op += tail_.names;
    step.reason = reason_;
    step.macs = macs_of(part.geometry, part.extents);
    step.scratch_bytes = scratch;
    step.reads = {x_value_.buffer};
    step.writes = {result};
    return step;
  }

  void emit_requantized() {
    const Value result = compiler_.define(tail_.result, layout_, compiler_.storage(tail_.result));
    const ElementwiseType& type = result.storage.type;
    const auto [lo, hi] = stored_bounds(tail_, type);
    RequantizedOutput output;
    output.inverse_scale = 1.0f / type.scale;
    output.zero_point = static_cast<std::uint8_t>(type.zero_point);
    output.lo = lo;
    output.hi = hi;
    for (const LinearPart& part : parts_) {
      const auto conv = packed_int8(part);
      Step step = step_of(part, conv->kernel_name(),
                          conv->scratch_bytes(part.extents, compiler_.num_threads()), result.buffer);
      step.run = [conv, output, extents = part.extents, offset = part.y_offset, x = x_value_.buffer,
                  y = result.buffer](const Execution& e) {
        RequantizedOutput here = output;
        here.y = e.at<std::uint8_t>(y) + offset;
        conv->run(e.context, extents, e.at<std::uint8_t>(x), here, e.scratch);
      };
      compiler_.emit(std::move(step));
    }
  }

  // Real values to `buffer`, or to the sink that `bind` sets up.
  template <class Bind>
  void emit_part(const LinearPart& part, int result, const std::vector<int>& more_reads, Bind bind) {
    Step step = step_of(part, "", 0, result);
    step.reads.insert(step.reads.end(), more_reads.begin(), more_reads.end());
    const auto common = [extents = part.extents, x = x_value_.buffer, bind](const Execution& e, auto&& run) {
      SinkState state;
      PixelSink sink;
      float* y = bind(e, state, sink);
      run(extents, x, y, sink);
    };
    if (is_int8_) {
      const auto conv = packed_int8(part);
      step.kernel = conv->kernel_name();
      step.scratch_bytes = conv->scratch_bytes(part.extents, compiler_.num_threads());
      step.run = [conv, common](const Execution& e) {
        common(e, [&](const ConvExtents& extents, int x, float* y, const PixelSink& sink) {
          conv->run(e.context, extents, e.at<std::uint8_t>(x), RealOutput{y, sink}, e.scratch);
        });
      };
    } else {
      const auto conv = packed_float(part);
      step.kernel = conv->kernel_name();
      step.scratch_bytes = conv->scratch_bytes(part.extents, compiler_.num_threads());
      step.run = [conv, common, lo = tail_.lo, hi = tail_.hi](const Execution& e) {
        common(e, [&](const ConvExtents& extents, int x, float* y, const PixelSink& sink) {
          conv->run(e.context, extents, e.at<float>(x), FloatOutput{lo, hi, y, sink}, e.scratch);
        });
      };
    }
    compiler_.emit(std::move(step));
  }

  void emit_real(int buffer) {
    for (const LinearPart& part : parts_) {
      emit_part(part, buffer, {},
                [buffer, offset = part.y_offset](const Execution& e, SinkState&, PixelSink&) {
                  return e.at<float>(buffer) + offset;
                });
    }
  }

  void emit_with_sink(const std::shared_ptr<const Chain::Compiled>& chain) {
    const std::vector<int> reads(chain->operands.begin() + 1, chain->operands.end());
    emit_part(parts_[0], chain->result.buffer, reads,
              [chain](const Execution& e, SinkState& state, PixelSink& sink) {
                state.chain = chain.get();
                state.operands[0] = nullptr;
                for (std::size_t i = 1; i < chain->operands.size(); ++i)
                  state.operands[i] = e.at<void>(chain->operands[i]);
                state.result = e.at<void>(chain->result.buffer);
                sink = PixelSink{&state, take_rows};
                return static_cast<float*>(nullptr);
              });
  }

  void emit_chain(const Chain::Compiled& chain) {
    Step step = compiler_.step_for(node_, chain.program.kernel_name(), "float32");
    step.op = tail_.names;
    step.reads = chain.operands;
    step.writes = {chain.result.buffer};
    step.run = [chain](const Execution& e) { run_chain(chain, e); };
    compiler_.emit(std::move(step));
  }

  Compiler& compiler_;
  const Node& node_;
  int x_;
  Layout layout_;
  std::vector<LinearPart> parts_;
  Tail tail_;
  std::string reason_;
  bool is_int8_;
  std::vector<float> multiplier_, bias_;
  Value x_value_;
};

}  // namespace

Tail absorb_tail(Compiler& compiler, const Node& node, std::size_t channels, std::size_t axes_behind,
                 int bias) {
  Tail tail;
  tail.result = node.outputs[0];
  if (bias != kAbsent) {
    tail.bias = compiler.constant_floats(bias);
    QSLIM_REQUIRE(tail.bias.size() == channels, node.op_type, " '", node.label, "': expected a bias of ",
                  channels, " values, got ", tail.bias.size());
  }
  while (compiler.is_private(tail.result)) {
    const Node& next = *compiler.consumers(tail.result)[0];
    if (!next.domain.empty() || compiler.dims(next.outputs[0]) != compiler.dims(tail.result)) break;
    if (!absorb_add(compiler, next, channels, axes_behind, tail) && !absorb_clamp(compiler, next, tail))
      break;
    compiler.mark_done(next);
    tail.result = next.outputs[0];
    tail.names += "+" + next.op_type;
  }
  return tail;
}

void emit_linear(Compiler& compiler, const Node& node, int x, Layout layout, std::vector<LinearPart> parts,
                 Tail tail) {
  Emitter(compiler, node, x, layout, std::move(parts), std::move(tail)).emit();
}

}  // namespace qslim::runtime
