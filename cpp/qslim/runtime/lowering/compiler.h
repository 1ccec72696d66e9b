// SPDX-License-Identifier: Apache-2.0
//
// Compiler: the Plan of one Model while it is made. The operators' compile functions read the graph through
// it and emit steps into it; compile/compile.h goes through the nodes.
//
// Each tensor exists in one or several forms (value.h). An operator asks for the form that it needs, and the
// conversion becomes a step of its own the first time. The storage of each tensor is settled before
// (compile/storage.h).
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "qslim/runtime/lowering/infer_context.h"
#include "qslim/runtime/lowering/value.h"
#include "qslim/runtime/lowering/weight_cache.h"
#include "qslim/runtime/plan/plan.h"

namespace qslim::runtime {

class Compiler {
 public:
  // `storage` has one entry for each tensor.
  Compiler(const Model& model, std::vector<TensorFacts> facts, std::vector<Storage> storage, Isa isa,
           std::size_t num_threads, WeightCache& weights, OutputUse output_use);

  // ---- the whole graph: first, after each node, last ----
  void prepare_inputs();
  // Tensors of more than 8 bits that have been computed are rounded, in float32, by a step of their own.
  void round_wide_tensors();
  // Outputs that have been computed are shown, where they are to be shown.
  void show_outputs();
  Plan finish();

  // ---- the graph ----
  const Model& model() const noexcept { return model_; }
  const Tensor& tensor(int id) const { return model_.tensors[static_cast<std::size_t>(id)]; }
  const TensorFacts& facts(int id) const { return facts_[static_cast<std::size_t>(id)]; }
  const Dims& dims(int id) const { return facts(id).dims; }
  // Call function(context) with the node's InferContext, for attributes that both stages read.
  template <class Function>
  auto with_context(const Node& node, const Function& function) {
    return function(InferContext(model_, node, facts_));
  }
  // Return the storage that the tensor is to have.
  const Storage& storage(int id) const { return storage_[static_cast<std::size_t>(id)]; }
  const std::vector<const Node*>& consumers(int id) const { return consumers_[static_cast<std::size_t>(id)]; }
  bool is_output(int id) const { return is_output_[static_cast<std::size_t>(id)]; }
  // Return true if `consumers(id)[0]` alone reads the tensor and its values are not quantized: it may be
  // fused away.
  bool is_private(int id) const;
  bool has_value(int id) const;  // constant, input, or computed by a step already
  void mark_done(const Node& node) { done_[index_of(node)] = true; }
  bool is_done(const Node& node) const { return done_[index_of(node)]; }
  Isa isa() const noexcept { return isa_; }
  std::size_t num_threads() const noexcept { return num_threads_; }
  WeightCache& weights() noexcept { return weights_; }

  // ---- forms ----
  // Return the tensor in that layout and in its storage: float32, or uint8 if it is quantized.
  Value get(int id, Layout layout);
  // Return the same in float32.
  Value get_real(int id, Layout layout);
  // Return the tensor in a layout that it has already.
  Value get_any(int id);
  // Return a layout that the tensor has already.
  Layout layout_of(int id);
  // Return a float constant's real values (dequantized if it is quantized), row-major.
  std::vector<float> constant_floats(int id) const;
  // Return a new buffer for the tensor in that form; the caller emits the step that fills it.
  Value define(int id, Layout layout, const Storage& storage);
  // Make tensor `id` the same buffer as `value`, with its own dims: no step.
  void alias(int id, Layout layout, const Value& value);
  // Make `value` the only form of tensor `id`.
  void replace(int id, const Value& value);
  // Return the value in memory that may be read past its end, as the caller's arrays may not.
  Value with_slack(int id, const Value& value);
  int new_buffer(std::size_t bytes);
  int constant_buffer(std::shared_ptr<const void> data, std::size_t bytes);

  void emit(Step step);
  // Return a step with its first fields, from its node.
  Step step_for(const Node& node, std::string kernel, std::string type) const;

 private:
  std::size_t index_of(const Node& node) const {
    return static_cast<std::size_t>(&node - model_.nodes.data());
  }
  Value convert(int id, const Value& from, Layout layout, const Storage& storage);
  Value constant_value(int id, Layout layout, bool as_real);
  std::vector<Value>& forms(int id) { return forms_[static_cast<std::size_t>(id)]; }
  void add_form(int id, Value value);
  void show(int id);

  const Model& model_;
  std::vector<TensorFacts> facts_;
  Isa isa_;
  std::size_t num_threads_;
  WeightCache& weights_;

  std::vector<Storage> storage_;
  std::vector<std::vector<const Node*>> consumers_;
  std::vector<bool> is_output_;
  std::vector<std::vector<Value>> forms_;
  std::vector<bool> done_;
  std::vector<bool> is_wide_;       // tensors of more than 8 bits whose rounding is still to come
  std::vector<int> to_be_rounded_;  // those of them that have been computed
  const OutputUse output_use_;
  std::vector<bool> is_unshown_;  // outputs that are to be shown and have not been
  std::vector<int> to_be_shown_;  // those of them that have been computed
  Plan plan_;
};

// Return the nodes that read each tensor, in their order.
std::vector<std::vector<const Node*>> consumers_of(const Model& model);

}  // namespace qslim::runtime
