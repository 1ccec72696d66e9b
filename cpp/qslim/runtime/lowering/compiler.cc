// SPDX-License-Identifier: Apache-2.0
#include "qslim/runtime/lowering/compiler.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "qslim/core/aligned_buffer.h"
#include "qslim/runtime/lowering/conversions.h"

namespace qslim::runtime {
namespace {

constexpr Layout kLayouts[] = {Layout::kPlain, Layout::kChannelsLast};

// True where both layouts are the same memory.
bool layouts_agree(const Dims& dims) {
  return dims.size() != 4 || dims[1] == 1 || (dims[2] == 1 && dims[3] == 1);
}

std::shared_ptr<const void> copy_of(const void* data, std::size_t bytes) {
  auto owner = std::make_shared<AlignedBuffer<std::byte>>(bytes + kReadSlack);
  if (bytes != 0) std::memcpy(owner->data(), data, bytes);
  std::memset(owner->data() + bytes, 0, kReadSlack);
  return std::shared_ptr<const void>(owner, owner->data());
}

// Return which scale element `i` of a quantized constant has.
std::size_t scale_index(const Tensor& tensor, std::size_t i) {
  const Quantization& q = *tensor.quantization;
  const Dims& dims = *tensor.shape;
  if (!q.quant_axis) return 0;
  if (q.group_size != 0) {
    const std::size_t columns = as_size(dims[1]), row = i / columns, column = i % columns;
    return *q.quant_axis == 1 ? row / q.group_size * columns + column
                              : row * q.groups_of(columns) + column / q.group_size;
  }
  const std::size_t inner =
      as_size(element_count(Dims(dims.begin() + static_cast<std::ptrdiff_t>(*q.quant_axis) + 1, dims.end())));
  return i / inner % q.scale.size();
}

}  // namespace

std::vector<std::vector<const Node*>> consumers_of(const Model& model) {
  std::vector<std::vector<const Node*>> consumers(model.tensors.size());
  for (const Node& node : model.nodes) {
    for (const int input : node.inputs) {
      if (input == kAbsent) continue;
      auto& readers = consumers[static_cast<std::size_t>(input)];
      if (readers.empty() || readers.back() != &node) readers.push_back(&node);
    }
  }
  return consumers;
}

Compiler::Compiler(const Model& model, std::vector<TensorFacts> facts, std::vector<Storage> storage, Isa isa,
                   std::size_t num_threads, WeightCache& weights, OutputUse output_use)
    : model_(model),
      facts_(std::move(facts)),
      isa_(isa),
      num_threads_(num_threads),
      weights_(weights),
      storage_(std::move(storage)),
      consumers_(consumers_of(model)),
      is_output_(model.tensors.size(), false),
      forms_(model.tensors.size()),
      done_(model.nodes.size(), false),
      output_use_(output_use) {
  for (const int output : model.outputs) is_output_[static_cast<std::size_t>(output)] = true;
  for (std::size_t i = 0; i < model_.tensors.size(); ++i) {
    const Tensor& t = model_.tensors[i];
    is_wide_.push_back(t.quantization && !t.is_constant() && !t.quantization->fits_a_byte());
  }
  is_unshown_ = output_use == OutputUse::kShown ? is_output_ : std::vector<bool>(model.tensors.size(), false);
}

bool Compiler::is_private(int id) const {
  return consumers(id).size() == 1 && !is_output(id) && !storage(id).is_quantized() &&
         !tensor(id).quantization;
}

bool Compiler::has_value(int id) const {
  return tensor(id).is_constant() || facts(id).integers || !forms_[static_cast<std::size_t>(id)].empty();
}

Value Compiler::get(int id, Layout layout) {
  if (tensor(id).is_constant() && facts(id).dtype == DType::kFloat32) return get_real(id, layout);
  return convert(id, get_any(id), layout, storage(id));
}

Value Compiler::get_real(int id, Layout layout) {
  QSLIM_REQUIRE(facts(id).dtype == DType::kFloat32, "tensor '", tensor(id).name,
                "': expected float32, it is ", name_of(facts(id).dtype));
  if (tensor(id).is_constant()) return constant_value(id, layout, /*as_real=*/true);
  return convert(id, get_any(id), layout, real_storage());
}

Value Compiler::get_any(int id) {
  if (forms(id).empty()) {
    QSLIM_REQUIRE(tensor(id).is_constant() || facts(id).integers, "tensor '", tensor(id).name,
                  "' is read before it is computed");
    constant_value(id, Layout::kPlain, facts(id).dtype == DType::kFloat32);
  }
  return forms(id).front();
}

Layout Compiler::layout_of(int id) { return forms(id).empty() ? Layout::kPlain : forms(id).front().layout; }

std::vector<float> Compiler::constant_floats(int id) const {
  const Tensor& t = tensor(id);
  QSLIM_REQUIRE(t.is_constant() && t.dtype == DType::kFloat32, "tensor '", t.name,
                "': expected a float32 constant");
  std::vector<float> values(static_cast<std::size_t>(element_count(*t.shape)));
  if (!t.quantization || !t.quantization->fits_a_byte()) {
    if (!values.empty()) std::memcpy(values.data(), t.data, values.size() * sizeof(float));
    return values;
  }
  const Quantization& q = *t.quantization;
  if (!q.is_unsigned()) {
    const std::vector<std::int8_t> integers = signed_integers(t);
    for (std::size_t i = 0; i < values.size(); ++i) {
      values[i] = static_cast<float>(integers[i] - q.zero_point) * q.scale[scale_index(t, i)];
    }
    return values;
  }
  for (std::size_t i = 0; i < values.size(); ++i) {
    const int stored = static_cast<int>(static_cast<std::uint8_t>(t.data[i]));
    values[i] = static_cast<float>(stored - q.zero_point) * q.scale[scale_index(t, i)];
  }
  return values;
}

Value Compiler::constant_value(int id, Layout layout, bool as_real) {
  if (dims(id).size() != 4) layout = Layout::kPlain;
  const bool same_memory = layouts_agree(dims(id));
  for (const Value& form : forms(id)) {
    if (form.layout == layout) return form;
    if (same_memory) return Value{form.dims, layout, form.storage, form.dtype, form.buffer};
  }
  Value value{dims(id), layout, real_storage(), facts(id).dtype, -1};
  if (!as_real && facts(id).integers && !tensor(id).is_constant()) {
    // Integers are small and need no sharing.
    const std::vector<std::int64_t>& integers = *facts(id).integers;
    if (value.dtype == DType::kInt32) {
      const std::vector<std::int32_t> narrow(integers.begin(), integers.end());
      value.buffer = constant_buffer(copy_of(narrow.data(), value.bytes()), value.bytes());
    } else {
      value.buffer = constant_buffer(copy_of(integers.data(), value.bytes()), value.bytes());
    }
  } else if (!as_real) {
    const auto data = weights_.get<std::shared_ptr<const void>>(concatenate("stored ", id), [&] {
      weights_.add_bytes(value.bytes());
      return copy_of(tensor(id).data, value.bytes());
    });
    value.buffer = constant_buffer(*data, value.bytes());
  } else {
    const std::string key =
        concatenate("constant ", id, layout == Layout::kPlain ? " plain" : " channels-last");
    auto data = weights_.get<std::shared_ptr<const void>>(key, [&] {
      weights_.add_bytes(value.bytes());
      std::vector<float> floats = constant_floats(id);
      if (layout == Layout::kChannelsLast && !same_memory) {
        const auto c = static_cast<std::size_t>(dims(id)[1]);
        const auto pixels = static_cast<std::size_t>(dims(id)[2] * dims(id)[3]);
        std::vector<float> moved(floats.size());
        for (std::size_t i = 0; i < floats.size(); ++i) {
          const std::size_t n = i / (c * pixels), channel = i / pixels % c, pixel = i % pixels;
          moved[(n * pixels + pixel) * c + channel] = floats[i];
        }
        floats = std::move(moved);
      }
      return copy_of(floats.data(), floats.size() * sizeof(float));
    });
    value.buffer = constant_buffer(*data, value.bytes());
  }
  forms(id).push_back(value);
  return value;
}

Value Compiler::define(int id, Layout layout, const Storage& storage) {
  if (dims(id).size() != 4) layout = Layout::kPlain;
  const DType dtype = storage.is_quantized() ? DType::kUint8 : facts(id).dtype;
  Value value{dims(id), layout, storage, dtype, -1};
  value.buffer = new_buffer(value.bytes());
  add_form(id, value);
  return value;
}

void Compiler::add_form(int id, Value value) {
  forms(id).push_back(std::move(value));
  if (is_wide_[static_cast<std::size_t>(id)]) to_be_rounded_.push_back(id);
  if (is_unshown_[static_cast<std::size_t>(id)]) to_be_shown_.push_back(id);
}

void Compiler::alias(int id, Layout layout, const Value& value) {
  if (dims(id).size() != 4) layout = Layout::kPlain;
  add_form(id, Value{dims(id), layout, value.storage, value.dtype, value.buffer});
}

Value Compiler::with_slack(int id, const Value& value) {
  if (plan_.buffers[static_cast<std::size_t>(value.buffer)].kind != Buffer::Kind::kInput) return value;
  Value copy = value;
  copy.buffer = new_buffer(value.bytes());
  emit_copy_of_input(*this, id, value, copy);
  replace(id, copy);
  return copy;
}

int Compiler::new_buffer(std::size_t bytes) {
  plan_.buffers.push_back(Buffer{Buffer::Kind::kArena, bytes, 0, nullptr});
  return static_cast<int>(plan_.buffers.size() - 1);
}

int Compiler::constant_buffer(std::shared_ptr<const void> data, std::size_t bytes) {
  plan_.buffers.push_back(Buffer{Buffer::Kind::kConstant, bytes, 0, std::move(data)});
  return static_cast<int>(plan_.buffers.size() - 1);
}

void Compiler::emit(Step step) { plan_.steps.push_back(std::move(step)); }

Step Compiler::step_for(const Node& node, std::string kernel, std::string type) const {
  Step step;
  step.label = node.label.empty() ? tensor(node.outputs[0]).name : node.label;
  step.op = node.op_type;
  step.kernel = std::move(kernel);
  step.type = std::move(type);
  return step;
}

Value Compiler::convert(int id, const Value& from, Layout layout, const Storage& storage) {
  if (dims(id).size() != 4) layout = Layout::kPlain;
  const bool same_memory = layouts_agree(dims(id));
  const Value* best = nullptr;
  for (const Value& form : forms(id)) {
    const bool fits = form.layout == layout || same_memory;
    if (fits && form.storage == storage)
      return Value{form.dims, layout, form.storage, form.dtype, form.buffer};
    if (fits || (best == nullptr && form.storage == storage)) best = &form;
  }
  const Value source = best != nullptr ? *best : from;
  if (source.dtype != DType::kFloat32 &&
      source.dtype != DType::kUint8) {  // integers: only the layout differs
    const Value target = define(id, layout, source.storage);
    emit_relayout(*this, id, source, target);
    return target;
  }
  if (source.layout == layout || same_memory) {
    const Value target = define(id, source.layout, storage);
    emit_retype(*this, id, source, target);
    return Value{target.dims, layout, target.storage, target.dtype, target.buffer};
  }
  // Move the smaller elements.
  const bool retype_first = storage.is_quantized() && !source.storage.is_quantized();
  if (retype_first && source.layout == Layout::kPlain) {
    const Value target = define(id, layout, storage);
    emit_quantize_to_channels_last(*this, id, source, target);
    return target;
  }
  if (!(source.storage == storage)) {
    if (retype_first) {
      const Value retyped = define(id, source.layout, storage);
      emit_retype(*this, id, source, retyped);
      return convert(id, retyped, layout, storage);
    }
    const Value moved = define(id, layout, source.storage);
    emit_relayout(*this, id, source, moved);
    return convert(id, moved, layout, storage);
  }
  const Value target = define(id, layout, storage);
  emit_relayout(*this, id, source, target);
  return target;
}

void Compiler::round_wide_tensors() {
  while (!to_be_rounded_.empty()) {
    const int id = to_be_rounded_.back();
    to_be_rounded_.pop_back();
    if (!is_wide_[static_cast<std::size_t>(id)]) continue;
    is_wide_[static_cast<std::size_t>(id)] = false;
    // A view of quantized data is bytes until real values are asked for.
    emit_fake_quant(*this, id, get_real(id, forms(id).front().layout));
  }
}

void Compiler::show(int id) {
  if (!is_unshown_[static_cast<std::size_t>(id)]) return;
  is_unshown_[static_cast<std::size_t>(id)] = false;
  const Value value = get_plain(*this, id);
  for (std::size_t i = 0; i < model_.outputs.size(); ++i) {
    if (model_.outputs[i] == id) emit_show(*this, id, value, i);
  }
}

void Compiler::show_outputs() {
  while (!to_be_shown_.empty()) {
    const int id = to_be_shown_.back();
    to_be_shown_.pop_back();
    show(id);
  }
}

void Compiler::replace(int id, const Value& value) { forms(id).assign(1, value); }

void Compiler::prepare_inputs() {
  for (std::size_t i = 0; i < model_.inputs.size(); ++i) {
    const int id = model_.inputs[i];
    plan_.input_dims.push_back(dims(id));
    Value value{dims(id), Layout::kPlain, real_storage(), facts(id).dtype, -1};
    plan_.buffers.push_back(Buffer{Buffer::Kind::kInput, value.bytes(), i, nullptr});
    value.buffer = static_cast<int>(plan_.buffers.size() - 1);
    // A quantized input is rounded at once: each of its forms holds the same integers.
    const bool is_rounded = storage(id).is_quantized();
    add_form(id, value);
    if (is_rounded) {
      const bool to_channels_last =
          dims(id).size() == 4 &&
          std::any_of(consumers(id).begin(), consumers(id).end(), [](const Node* reader) {
            return reader->op_type == "Conv" || reader->op_type == "ConvTranspose";
          });
      const Value rounded =
          convert(id, value, to_channels_last ? Layout::kChannelsLast : Layout::kPlain, storage(id));
      replace(id, rounded);
    }
  }
  round_wide_tensors();
  show_outputs();
}

Plan Compiler::finish() {
  for (std::size_t i = 0; i < model_.outputs.size(); ++i) {
    const int id = model_.outputs[i];
    plan_.output_dims.push_back(dims(id));
    plan_.output_types.push_back(facts(id).dtype);
    if (output_use_ == OutputUse::kShown) {
      show(id);  // of constants, which no step computes
      continue;
    }
    const Value value = get_plain(*this, id);
    plan_.buffers.push_back(Buffer{Buffer::Kind::kOutput, value.bytes(), i, nullptr});
    emit_output(*this, id, value, static_cast<int>(plan_.buffers.size() - 1));
  }
  place_buffers(plan_);
  return std::move(plan_);
}

}  // namespace qslim::runtime
