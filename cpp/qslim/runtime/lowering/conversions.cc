// SPDX-License-Identifier: Apache-2.0
#include "qslim/runtime/lowering/conversions.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <utility>

#include "qslim/kernels/movement/movement.h"

namespace qslim::runtime {
namespace {

std::string type_name(const Storage& from, const Storage& to) {
  const auto name = [](const Storage& s) {
    return s.is_quantized() ? std::string("int8") : std::string("float32");
  };
  return name(from) == name(to) ? name(from) : name(from) + "->" + name(to);
}

Step step_on(const Compiler& compiler, int id, const char* op, const char* kernel, const Value& from,
             const Value& to) {
  Step step;
  step.label = compiler.tensor(id).name;
  step.op = op;
  step.kernel = kernel;
  step.type = type_name(from.storage, to.storage);
  step.reads = {from.buffer};
  step.writes = {to.buffer};
  return step;
}

CopyExtents kernel_extents(const Copy& copy) {
  // Axes of extent 1 go; neighbours that are contiguous on both sides become one.
  Dims extents, source, target;
  for (std::size_t i = 0; i < copy.extents.size(); ++i) {
    if (copy.extents[i] == 1) continue;
    if (!extents.empty() && source.back() == copy.source_strides[i] * copy.extents[i] &&
        target.back() == copy.target_strides[i] * copy.extents[i]) {
      extents.back() *= copy.extents[i];
      source.back() = copy.source_strides[i];
      target.back() = copy.target_strides[i];
      continue;
    }
    extents.push_back(copy.extents[i]);
    source.push_back(copy.source_strides[i]);
    target.push_back(copy.target_strides[i]);
  }
  QSLIM_REQUIRE(extents.size() <= CopyExtents::kAxes, "a copy of ", extents.size(), " axes is not supported");
  CopyExtents result;
  const std::size_t skip = CopyExtents::kAxes - extents.size();
  for (std::size_t i = 0; i < extents.size(); ++i) {
    result.extent[skip + i] = static_cast<std::size_t>(extents[i]);
    result.source_strides[skip + i] = static_cast<std::ptrdiff_t>(source[i]);
    result.destination_strides[skip + i] = static_cast<std::ptrdiff_t>(target[i]);
  }
  return result;
}

}  // namespace

Around around(const Dims& dims, std::size_t axis) {
  Around a;
  for (std::size_t i = 0; i < dims.size(); ++i)
    (i < axis ? a.outer : i == axis ? a.axis : a.inner) *= as_size(dims[i]);
  return a;
}

Dims strides_of(const Dims& dims) {
  Dims strides(dims.size(), 1);
  for (std::size_t i = dims.size(); i-- > 1;) strides[i - 1] = strides[i] * dims[i];
  return strides;
}

Dims logical_strides(const Value& value) {
  const Dims memory = strides_of(value.memory_dims());
  if (value.layout == Layout::kPlain || value.dims.size() != 4) return memory;
  return {memory[0], memory[3], memory[1], memory[2]};
}

void emit_copy(Compiler& compiler, Step step, const Value& from, const Value& to, const Copy& copy) {
  const CopyExtents extents = kernel_extents(copy);
  const std::size_t size = size_of(to.dtype);
  const std::size_t source_offset = static_cast<std::size_t>(copy.source_offset) * size;
  const std::size_t target_offset = static_cast<std::size_t>(copy.target_offset) * size;
  step.run = [=, x = from.buffer, y = to.buffer](const Execution& e) {
    strided_copy(e.context, size, extents, e.at<std::byte>(x) + source_offset,
                 e.at<std::byte>(y) + target_offset);
  };
  compiler.emit(std::move(step));
}

void emit_relayout(Compiler& compiler, int id, const Value& from, const Value& to) {
  emit_copy(compiler, step_on(compiler, id, "Relayout", "strided_copy", from, to), from, to,
            Copy{from.dims, logical_strides(from), logical_strides(to)});
}

void emit_retype(Compiler& compiler, int id, const Value& from, const Value& to) {
  auto program = Elementwise(compiler.isa(), {from.storage.type}, {ElementwiseStep{ElementwiseOp::kIdentity}},
                             to.storage.type);
  const auto count = static_cast<std::size_t>(element_count(from.dims));
  const ElementwiseExtents extents = broadcast_extents({{count}});
  Step step = step_on(compiler, id, to.storage.is_quantized() ? "Quantize" : "Dequantize",
                      program.kernel_name(), from, to);
  step.run = [program, extents, x = from.buffer, y = to.buffer](const Execution& e) {
    const void* operand = e.at<void>(x);
    program.run(e.context, extents, {&operand, 1}, e.at<void>(y));
  };
  compiler.emit(std::move(step));
}

void emit_quantize_to_channels_last(Compiler& compiler, int id, const Value& from, const Value& to) {
  ImageExtents images;
  images.batch = static_cast<std::size_t>(from.dims[0]);
  images.channels = images.pixel_stride = static_cast<std::size_t>(from.dims[1]);
  images.pixels = static_cast<std::size_t>(from.dims[2] * from.dims[3]);
  const ElementwiseType& type = to.storage.type;
  const QParams params{type.scale, type.zero_point, type.qmin, type.qmax};
  Step step = step_on(compiler, id, "Quantize", "nchw_f32_to_nhwc_u8", from, to);
  step.run = [=, x = from.buffer, y = to.buffer](const Execution& e) {
    nchw_f32_to_nhwc_u8(e.context, images, e.at<float>(x), params, e.at<std::uint8_t>(y));
  };
  compiler.emit(std::move(step));
}

void emit_fake_quant(Compiler& compiler, int id, const Value& value) {
  const Quantization& q = *compiler.tensor(id).quantization;
  Value rounded = value;
  rounded.buffer = compiler.new_buffer(value.bytes());
  const auto zero_point = static_cast<float>(q.zero_point);
  // q = clamp(round(x * (1 / scale)) + zero_point, qmin, qmax), back as (q - zero_point) * scale.
  const auto constants =
      std::make_shared<std::vector<float>>(std::vector<float>{1.0f / q.scale[0], zero_point, q.scale[0]});
  const ElementwiseType real = real_storage().type;
  auto program = Elementwise(
      compiler.isa(), {real, real, real, real},
      {ElementwiseStep{ElementwiseOp::kMul, 0, 1}, ElementwiseStep{ElementwiseOp::kRound, 4},
       ElementwiseStep{ElementwiseOp::kAdd, 5, 2},
       ElementwiseStep{ElementwiseOp::kClip, 6, 0, static_cast<float>(q.qmin), static_cast<float>(q.qmax)},
       ElementwiseStep{ElementwiseOp::kSub, 7, 2}, ElementwiseStep{ElementwiseOp::kMul, 8, 3}},
      real);
  const auto count = static_cast<std::size_t>(element_count(value.dims));
  const ElementwiseExtents extents = broadcast_extents({{count}, {1}, {1}, {1}});
  Step step = step_on(compiler, id, "RoundToGrid", program.kernel_name(), value, rounded);
  step.run = [program, extents, constants, x = value.buffer, y = rounded.buffer](const Execution& e) {
    const float* c = constants->data();
    const void* operands[] = {e.at<void>(x), c, c + 1, c + 2};
    program.run(e.context, extents, {operands, 4}, e.at<void>(y));
  };
  compiler.emit(std::move(step));
  compiler.replace(id, rounded);
}

void emit_fill(Compiler& compiler, const Node& node, const Value& value, float with) {
  CopyExtents extents;
  extents.extent[CopyExtents::kAxes - 1] = static_cast<std::size_t>(element_count(value.dims));
  extents.destination_strides[CopyExtents::kAxes - 1] = 1;
  const ElementwiseType& type = value.storage.type;
  std::uint32_t bits = 0;
  if (value.storage.is_quantized()) {
    const float steps = std::nearbyint(with * (1.0f / type.scale)) + static_cast<float>(type.zero_point);
    // In this order a NaN becomes qmin.
    bits = static_cast<std::uint32_t>(
        std::min(std::max(static_cast<float>(type.qmin), steps), static_cast<float>(type.qmax)));
  } else {
    QSLIM_REQUIRE(value.dtype == DType::kFloat32, node.op_type, " '", node.label, "': expected float32 data");
    std::memcpy(&bits, &with, sizeof bits);
  }
  const std::size_t size = size_of(value.dtype);
  Step step = compiler.step_for(node, "strided_fill", value.storage.is_quantized() ? "int8" : "float32");
  step.writes = {value.buffer};
  step.run = [=, y = value.buffer](const Execution& e) {
    strided_fill(e.context, size, extents, &bits, e.at<void>(y));
  };
  compiler.emit(std::move(step));
}

namespace {

void emit_bytes(Compiler& compiler, int id, const char* op, const Value& from, int to) {
  Step step;
  step.label = compiler.tensor(id).name;
  step.op = op;
  step.kernel = "memcpy";
  step.type = from.storage.is_quantized() ? "int8" : name_of(from.dtype);
  step.reads = {from.buffer};
  step.writes = {to};
  step.run = [bytes = from.bytes(), x = from.buffer, to](const Execution& e) {
    if (bytes != 0) std::memcpy(e.at<void>(to), e.at<void>(x), bytes);
  };
  compiler.emit(std::move(step));
}

}  // namespace

void emit_copy_of_input(Compiler& compiler, int id, const Value& from, const Value& to) {
  emit_bytes(compiler, id, "Input", from, to.buffer);
}

void emit_output(Compiler& compiler, int id, const Value& value, int target) {
  emit_bytes(compiler, id, "Output", value, target);
}

void emit_show(Compiler& compiler, int id, const Value& value, std::size_t output) {
  Step step;
  step.label = compiler.tensor(id).name;
  step.op = "Show";
  step.kernel = "none";
  step.type = name_of(value.dtype);
  step.reads = {value.buffer};
  step.run = [output, x = value.buffer](const Execution& e) {
    if (e.show != nullptr) (*e.show)(output, e.at<void>(x));
  };
  compiler.emit(std::move(step));
}

Value get_plain(Compiler& compiler, int id) {
  return compiler.facts(id).dtype == DType::kFloat32 ? compiler.get_real(id, Layout::kPlain)
                                                     : compiler.get(id, Layout::kPlain);
}

Value get_on_grid_of(Compiler& compiler, int operand, int result, Layout layout) {
  const Storage& wanted = compiler.storage(result);
  if (!wanted.is_quantized()) {
    const bool is_real = compiler.facts(operand).dtype == DType::kFloat32;
    return is_real ? compiler.get_real(operand, layout) : compiler.get(operand, layout);
  }
  const Value value = compiler.get(operand, layout);
  if (value.storage == wanted) return value;
  Value rounded = value;
  rounded.storage = wanted;
  rounded.dtype = DType::kUint8;
  rounded.buffer = compiler.new_buffer(rounded.bytes());
  emit_retype(compiler, operand, value, rounded);
  return rounded;
}

Value define_or_round_later(Compiler& compiler, int id, Layout layout, const Storage& computed) {
  const Storage& wanted = compiler.storage(id);
  if (!wanted.is_quantized() || wanted == computed) return compiler.define(id, layout, computed);
  if (compiler.dims(id).size() != 4) layout = Layout::kPlain;
  const DType dtype = computed.is_quantized() ? DType::kUint8 : DType::kFloat32;
  Value value{compiler.dims(id), layout, computed, dtype, -1};
  value.buffer = compiler.new_buffer(value.bytes());
  return value;
}

void round_if_needed(Compiler& compiler, int id, const Value& value) {
  const Storage& wanted = compiler.storage(id);
  if (!wanted.is_quantized() || wanted == value.storage) return;
  emit_retype(compiler, id, value, compiler.define(id, value.layout, wanted));
}

void emit_view(Compiler& compiler, const Node& node, int id, Layout layout, const Value& value) {
  const Storage& wanted = compiler.storage(id);
  if (!wanted.is_quantized() || wanted == value.storage) {
    compiler.alias(id, layout, value);
    return;
  }
  Value seen = value;
  seen.dims = compiler.dims(id);
  seen.layout = layout;
  emit_retype(compiler, node.outputs[0], seen, compiler.define(id, layout, wanted));
}

}  // namespace qslim::runtime
