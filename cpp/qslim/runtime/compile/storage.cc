// SPDX-License-Identifier: Apache-2.0
//
#include "qslim/runtime/compile/storage.h"

#include "qslim/runtime/lowering/compiler.h"
#include "qslim/runtime/ops/registry.h"

namespace qslim::runtime {
namespace {

bool moves_elements(const Node& node) {
  const Operator* const op = find_operator(node);
  if (op == nullptr) return false;
  switch (op->moves) {
    case Moves::kMoves:
    case Moves::kMovesAll: return true;
    case Moves::kMovesIfNearest: return Attributes(node).text("mode", "nearest") == "nearest";
    case Moves::kPads:
    case Moves::kComputes: return false;
  }
  return false;
}

// The number of operands that are moved; the others are indices and extents.
std::size_t moved_operands(const Node& node) {
  return find_operator(node)->moves == Moves::kMovesAll ? node.inputs.size() : 1;
}

class Settler {
 public:
  Settler(const Model& model, const std::vector<TensorFacts>& facts)
      : model_(model),
        facts_(facts),
        consumers_(consumers_of(model)),
        is_output_(model.tensors.size(), false) {
    for (const int output : model.outputs) is_output_[static_cast<std::size_t>(output)] = true;
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
  const std::vector<std::vector<const Node*>> consumers_;
  std::vector<bool> is_output_;
  std::vector<Storage> storage_;
};

}  // namespace

std::vector<Storage> settle_storage(const Model& model, const std::vector<TensorFacts>& facts) {
  return Settler(model, facts).settle();
}

}  // namespace qslim::runtime
