// SPDX-License-Identifier: Apache-2.0
#include "qslim/runtime/lowering/chain.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <unordered_map>
#include <utility>

#include "qslim/runtime/lowering/broadcasting.h"

namespace qslim::runtime {
namespace {

// Provisional register numbers: operands are still being added while steps refer to them.
constexpr std::size_t kFirstStep = 128;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Return the row of formulas/elementwise.inc that is the operator of that name, or null.
const ElementwiseRow* find_row(const std::string& op_type) {
  static const auto& rows = *[] {
    auto* const map = new std::unordered_map<std::string, const ElementwiseRow*>;
    for (const ElementwiseRow& row : kElementwiseRows) {
      if (row.is_operator) map->emplace(row.name, &row);
    }
    return map;
  }();
  const auto found = rows.find(op_type);
  return found == rows.end() ? nullptr : found->second;
}

// The step that a node is, registers left open; nothing where a parameter is not known.
std::optional<ElementwiseStep> decode(const Compiler& compiler, const Node& node) {
  if (!node.domain.empty()) return std::nullopt;
  const Attributes attributes(node);
  if (const ElementwiseRow* const row = find_row(node.op_type)) {
    if (!row->has_alpha_beta) return ElementwiseStep{row->op};
    return ElementwiseStep{row->op, 0, 0, attributes.real("alpha", row->alpha),
                           attributes.real("beta", row->beta)};
  }
  const auto parameter = [&](std::size_t i, float fallback) -> std::optional<float> {
    if (i >= node.inputs.size() || node.inputs[i] == kAbsent) return fallback;
    const int id = node.inputs[i];
    if (!compiler.tensor(id).is_constant() || element_count(compiler.dims(id)) != 1) return std::nullopt;
    return compiler.constant_floats(id)[0];
  };
  if (node.op_type == "Relu") return ElementwiseStep{ElementwiseOp::kClip, 0, 0, 0.0f, kInfinity};
  if (node.op_type == "Clip") {
    const auto low = parameter(1, -kInfinity), high = parameter(2, kInfinity);
    if (!low || !high) return std::nullopt;
    return ElementwiseStep{ElementwiseOp::kClip, 0, 0, *low, *high};
  }
  if (node.op_type == "Gelu") {
    return ElementwiseStep{attributes.text("approximate", "none") == "tanh" ? ElementwiseOp::kGeluTanh
                                                                            : ElementwiseOp::kGelu};
  }
  return std::nullopt;
}

std::size_t operand_count(const ElementwiseStep& step) { return is_binary(step.op) ? 2 : 1; }

// Return true if an operand of these dims broadcasts into a result of dims `wanted`.
bool broadcasts_into(const Dims& dims, const Dims& wanted) {
  if (dims.size() > wanted.size()) return false;
  for (std::size_t i = 0; i < dims.size(); ++i) {
    const std::int64_t extent = dims[dims.size() - 1 - i];
    if (extent != 1 && extent != wanted[wanted.size() - 1 - i]) return false;
  }
  return true;
}

// Extents whose innermost axis is the shapes' own, so that rows are pixels.
ElementwiseExtents extents_by_row(const std::vector<std::vector<std::size_t>>& shapes) {
  constexpr std::size_t kAxes = ElementwiseExtents::kAxes;
  ElementwiseExtents e;
  for (const auto& shape : shapes) {
    QSLIM_REQUIRE(shape.size() <= kAxes, "a fused result of ", shape.size(), " axes is not supported");
    for (std::size_t i = 0; i < shape.size(); ++i) {
      std::size_t& extent = e.extent[kAxes - shape.size() + i];
      extent = std::max(extent, shape[i]);
    }
  }
  for (const auto& shape : shapes) {
    std::vector<std::ptrdiff_t> strides(kAxes, 0);
    std::ptrdiff_t stride = 1;
    for (std::size_t i = shape.size(); i-- > 0;) {
      if (shape[i] != 1) strides[kAxes - shape.size() + i] = stride;
      stride *= static_cast<std::ptrdiff_t>(shape[i]);
    }
    e.operand_strides.push_back(std::move(strides));
  }
  std::ptrdiff_t stride = 1;
  for (std::size_t i = kAxes; i-- > 0;) {
    e.result_strides[i] = stride;
    stride *= static_cast<std::ptrdiff_t>(e.extent[i]);
  }
  return e;
}

}  // namespace

bool is_elementwise(const Node& node) {
  const std::string& op = node.op_type;
  return node.domain.empty() && (find_row(op) != nullptr || op == "Relu" || op == "Clip" || op == "Gelu");
}

bool is_binary_operator(const std::string& op_type) {
  const ElementwiseRow* const row = find_row(op_type);
  return row != nullptr && row->is_binary;
}

Chain::Chain(Compiler& compiler, int result, Layout layout, std::optional<int> start)
    : compiler_(compiler), result_(result), layout_(layout), has_start_(start.has_value()) {
  if (compiler_.dims(result).size() != 4) layout_ = Layout::kPlain;
  if (!start) return;
  const Value value{compiler.dims(*start), layout_, real_storage(), DType::kFloat32, -1};
  operands_.push_back(Operand{*start, value, as_shape(value.memory_dims())});
  registers_.emplace_back(*start, 0);
}

std::optional<std::size_t> Chain::find_register(int tensor) const {
  for (const auto& [id, number] : registers_) {
    if (id == tensor) return number;
  }
  return std::nullopt;
}

std::optional<Chain::Operand> Chain::operand_for(int tensor) const {
  if (!compiler_.has_value(tensor) || compiler_.facts(tensor).dtype != DType::kFloat32) return std::nullopt;
  const Dims& dims = compiler_.dims(tensor);
  const std::size_t rank = compiler_.dims(result_).size();
  if (layout_ == Layout::kPlain || dims.size() == 4) {
    const Value value = compiler_.get(tensor, layout_);
    return Operand{tensor, value, as_shape(value.memory_dims())};
  }
  // Fewer axes, in a channels-last chain: [1, C, H, W] in memory is [1, H, W, C].
  Dims full(rank - dims.size(), 1);
  full.insert(full.end(), dims.begin(), dims.end());
  if (full[1] != 1 && full[2] * full[3] != 1) return std::nullopt;
  const Value value = compiler_.get(tensor, Layout::kPlain);
  return Operand{tensor, value, as_shape(Dims{full[0], full[2], full[3], full[1]})};
}

bool Chain::add(const Node& node) {
  auto step = decode(compiler_, node);
  if (!step || steps_.size() + 2 > Elementwise::kMaxSteps) return false;
  const std::size_t count = operand_count(*step);
  const bool is_variadic = step->op == ElementwiseOp::kMax || step->op == ElementwiseOp::kMin;
  if (node.inputs.size() < count || (is_binary(step->op) && !is_variadic && node.inputs.size() != 2) ||
      (is_variadic && node.inputs.size() != 2)) {
    return false;
  }
  std::size_t operands[2] = {0, 0};
  std::vector<Operand> fresh;
  std::vector<std::pair<int, std::size_t>> fresh_registers;
  for (std::size_t i = 0; i < count; ++i) {
    const int tensor = node.inputs[i];
    if (const auto known = find_register(tensor)) {
      operands[i] = *known;
      continue;
    }
    if (i == 1 && tensor == node.inputs[0] && !fresh.empty()) {
      operands[1] = operands[0];
      continue;
    }
    if (operands_.size() + fresh.size() == Elementwise::kMaxOperands) return false;
    if (!broadcasts_into(compiler_.dims(tensor), compiler_.dims(node.outputs[0]))) return false;
    auto operand = operand_for(tensor);
    if (!operand) return false;
    operands[i] = operands_.size() + fresh.size();
    fresh_registers.emplace_back(tensor, operands[i]);
    fresh.push_back(std::move(*operand));
  }
  operands_.insert(operands_.end(), fresh.begin(), fresh.end());
  registers_.insert(registers_.end(), fresh_registers.begin(), fresh_registers.end());
  step->a = static_cast<std::uint8_t>(operands[0]);
  step->b = static_cast<std::uint8_t>(operands[1]);
  steps_.push_back(*step);
  result_ = node.outputs[0];
  registers_.emplace_back(result_, kFirstStep + steps_.size() - 1);
  names_ += (names_.empty() ? "" : "+") + node.op_type;
  compiler_.mark_done(node);
  return true;
}

void Chain::clamp(float lo, float hi) {
  const auto last = find_register(result_);
  steps_.push_back(
      ElementwiseStep{ElementwiseOp::kClip, static_cast<std::uint8_t>(last ? *last : 0), 0, lo, hi});
  for (auto& [id, number] : registers_) {
    if (id == result_) number = kFirstStep + steps_.size() - 1;
  }
}

// x -> f(x) -> g(x, f(x)), as in x * sigmoid(x).
bool Chain::add_diamond() {
  const auto& readers = compiler_.consumers(result_);
  if (readers.size() != 2 || compiler_.is_output(result_) || compiler_.storage(result_).is_quantized() ||
      compiler_.tensor(result_).quantization) {
    return false;
  }
  const Node *inner = readers[0], *outer = readers[1];
  if (!is_elementwise(*inner) || !is_elementwise(*outer) || inner->inputs.size() > 3 ||
      !compiler_.is_private(inner->outputs[0]) || compiler_.consumers(inner->outputs[0])[0] != outer ||
      outer->inputs.size() != 2 || compiler_.dims(outer->outputs[0]) != compiler_.dims(result_) ||
      compiler_.dims(inner->outputs[0]) != compiler_.dims(result_)) {
    return false;
  }
  const bool joins = (outer->inputs[0] == result_ && outer->inputs[1] == inner->outputs[0]) ||
                     (outer->inputs[1] == result_ && outer->inputs[0] == inner->outputs[0]);
  return joins && add(*inner) && add(*outer);
}

void Chain::grow() {
  for (;;) {
    if (compiler_.is_private(result_)) {
      const Node& next = *compiler_.consumers(result_)[0];
      if (!is_elementwise(next) || compiler_.is_done(next) ||
          compiler_.dims(next.outputs[0]) != compiler_.dims(result_) || !add(next)) {
        return;
      }
    } else if (!add_diamond()) {
      return;
    }
  }
}

void run_chain(const Chain::Compiled& chain, const Execution& e) {
  const void* operands[Elementwise::kMaxOperands];
  for (std::size_t i = 0; i < chain.operands.size(); ++i) operands[i] = e.at<void>(chain.operands[i]);
  chain.program.run(e.context, chain.extents, {operands, chain.operands.size()},
                    e.at<void>(chain.result.buffer));
}

std::optional<Chain::Sum> Chain::as_sum() const {
  if (!has_start_ || operands_.size() != 2 || steps_.empty() || steps_.size() > 2) return std::nullopt;
  const ElementwiseStep& add = steps_[0];
  const Operand& operand = operands_[1];
  if (add.op != ElementwiseOp::kAdd || add.a + add.b != 1 || !operand.value.storage.is_quantized() ||
      operand.memory_shape != operands_[0].memory_shape) {
    return std::nullopt;
  }
  Sum sum{operand.value.storage.type, operand.value.buffer, -kInfinity, kInfinity};
  if (steps_.size() == 2) {
    const ElementwiseStep& clip = steps_[1];
    if (clip.op != ElementwiseOp::kClip || clip.a != kFirstStep || !(clip.p <= clip.q)) return std::nullopt;
    sum.lo = clip.p, sum.hi = clip.q;
  }
  return sum;
}

bool Chain::is_hard_swish() const {
  return has_start_ && steps_.size() == 1 && steps_[0].op == ElementwiseOp::kHardSwish && steps_[0].a == 0;
}

Chain::Compiled Chain::compile() {
  if (steps_.empty()) steps_.push_back(ElementwiseStep{ElementwiseOp::kIdentity});
  const auto renumber = [&](std::uint8_t r) {
    return static_cast<std::uint8_t>(r < kFirstStep ? r : r - kFirstStep + operands_.size());
  };
  std::vector<ElementwiseType> types;
  std::vector<std::vector<std::size_t>> shapes;
  std::vector<int> buffers;
  for (const Operand& operand : operands_) {
    types.push_back(operand.value.storage.type);
    shapes.push_back(operand.memory_shape);
    buffers.push_back(operand.value.buffer);
  }
  for (ElementwiseStep& step : steps_) {
    step.a = renumber(step.a);
    step.b = renumber(step.b);
  }
  const ElementwiseExtents extents = has_start_ ? extents_by_row(shapes) : broadcast_extents(shapes);
  std::size_t elements = 1;
  for (const std::size_t extent : extents.extent) elements *= extent;
  QSLIM_DCHECK(elements == static_cast<std::size_t>(element_count(compiler_.dims(result_))));
  const Storage& storage = compiler_.storage(result_);
  const Value result = compiler_.define(result_, layout_, storage);
  return Compiled{Elementwise(compiler_.isa(), types, steps_, storage.type), extents, buffers, result};
}

}  // namespace qslim::runtime
