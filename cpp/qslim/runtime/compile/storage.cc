// SPDX-License-Identifier: Apache-2.0
//
// What each tensor is stored as: bytes on its grid if it is annotated with one of at most 8 bits, else
// float32.
//
// Operators that only move elements commute with rounding to a grid. So a tensor that nobody reads but such
// operators, all of whose results lie on one grid, may lie on it as well (backward); and what such an
// operator makes of a quantized tensor is on that tensor's grid (forward). Neither changes a value.
#include <string>
#include <unordered_set>

#include "qslim/runtime/compile/compiler.h"

namespace qslim::runtime {
namespace {

bool moves_elements(const Node& node) {
  static const auto& kMovers = *new std::unordered_set<std::string>{
      "Concat",   "DepthToSpace", "Expand",  "Flatten",   "Gather",   "GlobalMaxPool",
      "Identity", "MaxPool",      "Reshape", "Resize",    "Slice",    "SpaceToDepth",
      "Split",    "Squeeze",      "Tile",    "Transpose", "Unsqueeze"};
  if (!node.domain.empty() || kMovers.count(node.op_type) == 0) return false;
  return node.op_type != "Resize" || Attributes(node).text("mode", "nearest") == "nearest";
}

// The operands that are moved; the others are indices and extents.
std::size_t moved_operands(const Node& node) { return node.op_type == "Concat" ? node.inputs.size() : 1; }

class Settler {
 public:
  Settler(const Model& model, const std::vector<TensorFacts>& facts,
          const std::vector<std::vector<const Node*>>& consumers, const std::vector<bool>& is_output)
      : model_(model), facts_(facts), consumers_(consumers), is_output_(is_output) {
    for (const Tensor& tensor : model.tensors) {
      const bool is_quantized =
          tensor.quantization && !tensor.is_constant() && tensor.quantization->fits_a_byte();
      storage_.push_back(is_quantized ? storage_of(*tensor.quantization) : real_storage());
    }
  }

  std::vector<Storage> settle() {
    for (std::size_t i = model_.nodes.size(); i-- > 0;) spread_backward(model_.nodes[i]);
    for (const Node& node : model_.nodes) spread_forward(node);
    return storage_;
  }

 private:
  Storage& at(int id) { return storage_[static_cast<std::size_t>(id)]; }

  bool is_free(int id) const {
    const auto i = static_cast<std::size_t>(id);
    return !model_.tensors[i].quantization && !model_.tensors[i].is_constant() &&
           facts_[i].dtype == DType::kFloat32 && !storage_[i].is_quantized();
  }

  void spread_backward(const Node& node) {
    if (!moves_elements(node)) return;
    for (std::size_t i = 0; i < moved_operands(node); ++i) {
      const int input = node.inputs[i];
      if (input == kAbsent || !is_free(input) || is_output_[static_cast<std::size_t>(input)]) continue;
      const Storage* wanted = nullptr;
      bool all_agree = true;
      for (const Node* reader : consumers_[static_cast<std::size_t>(input)]) {
        all_agree = all_agree && moves_elements(*reader);
        for (const int output : reader->outputs) {
          if (!all_agree || output == kAbsent) continue;
          if (wanted == nullptr) wanted = &at(output);
          all_agree = at(output).is_quantized() && at(output) == *wanted;
        }
      }
      if (all_agree && wanted != nullptr) at(input) = *wanted;
    }
  }

  void spread_forward(const Node& node) {
    if (!moves_elements(node) && !(node.domain.empty() && node.op_type == "Relu")) return;
    const Storage first = node.inputs[0] == kAbsent ? real_storage() : at(node.inputs[0]);
    if (!first.is_quantized()) return;
    for (std::size_t i = 1; i < moved_operands(node); ++i) {
      if (node.inputs[i] == kAbsent || !(at(node.inputs[i]) == first)) return;
    }
    for (const int output : node.outputs) {
      if (output != kAbsent && is_free(output)) at(output) = first;
    }
  }

  const Model& model_;
  const std::vector<TensorFacts>& facts_;
  const std::vector<std::vector<const Node*>>& consumers_;
  const std::vector<bool>& is_output_;
  std::vector<Storage> storage_;
};

}  // namespace

bool Storage::operator==(const Storage& other) const noexcept {
  return type.dtype == other.type.dtype && type.scale == other.type.scale &&
         type.zero_point == other.type.zero_point && type.qmin == other.type.qmin &&
         type.qmax == other.type.qmax;
}

Storage real_storage() { return Storage{ElementwiseType{DType::kFloat32, 1.0f, 0, 0, 0}}; }

Storage storage_of(const Quantization& q) {
  const std::int32_t shift = q.is_unsigned() ? 0 : 128;
  return Storage{
      ElementwiseType{DType::kUint8, q.scale[0], q.zero_point + shift, q.qmin + shift, q.qmax + shift}};
}

std::vector<Storage> settle_storage(const Model& model, const std::vector<TensorFacts>& facts,
                                    const std::vector<std::vector<const Node*>>& consumers,
                                    const std::vector<bool>& is_output) {
  return Settler(model, facts, consumers, is_output).settle();
}

}  // namespace qslim::runtime
