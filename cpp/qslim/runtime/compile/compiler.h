// SPDX-License-Identifier: Apache-2.0
//
// Compiler: turns a Model with known extents into a Plan. The operators' compile functions call it.
//
// Each tensor exists in one or several forms: element type (float32, or uint8 on a grid) and layout. An
// operator asks for the form it wants, and the conversion becomes a step of its own if nobody asked before.
// What a tensor is stored as follows from its annotation, which settle_storage spreads through operators that
// only move data.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "qslim/kernels/elementwise/elementwise.h"
#include "qslim/runtime/compile/inference.h"
#include "qslim/runtime/compile/weight_cache.h"
#include "qslim/runtime/plan.h"

namespace qslim::runtime {

// kChannelsLast: a tensor [N, C, H, W] lies in memory as [N, H, W, C]. Everything else is kPlain, row-major.
enum class Layout : std::uint8_t { kPlain, kChannelsLast };

// How a tensor's elements are stored. `type` has stored units: a signed grid is shifted by 128.
struct Storage {
  ElementwiseType type;
  bool is_quantized() const noexcept { return type.dtype == DType::kUint8; }
  bool operator==(const Storage& other) const noexcept;
};

Storage real_storage();
Storage storage_of(const Quantization& quantization);

// One form of a tensor.
struct Value {
  Dims dims;  // as the graph has them
  Layout layout = Layout::kPlain;
  Storage storage;
  DType dtype = DType::kFloat32;  // uint8 if quantized, int64 and others for integers
  int buffer = -1;

  Dims memory_dims() const;  // dims in the order in which they lie
  std::size_t bytes() const;
};

class Compiler {
 public:
  Compiler(const Model& model, std::vector<TensorFacts> facts, Isa isa, std::size_t num_threads,
           WeightCache& weights);

  Plan compile();

  // ---- the graph ----
  const Model& model() const noexcept { return model_; }
  const Tensor& tensor(int id) const { return model_.tensors[static_cast<std::size_t>(id)]; }
  const TensorFacts& facts(int id) const { return facts_[static_cast<std::size_t>(id)]; }
  const Dims& dims(int id) const { return facts(id).dims; }
  // What infer functions see, for attributes that both stages read.
  template <class Function>
  auto with_context(const Node& node, const Function& function) {
    return function(InferContext(model_, node, facts_));
  }
  // What the tensor shall be stored as.
  const Storage& storage(int id) const { return storage_[static_cast<std::size_t>(id)]; }
  const std::vector<const Node*>& consumers(int id) const { return consumers_[static_cast<std::size_t>(id)]; }
  bool is_output(int id) const { return is_output_[static_cast<std::size_t>(id)]; }
  // True if nobody but `consumers(id)[0]` sees the tensor and its values are not rounded to a grid: it may be
  // fused away.
  bool is_private(int id) const;
  bool has_value(int id) const;  // constant, input, or computed by a step already
  void mark_done(const Node& node) { done_[index_of(node)] = true; }
  bool is_done(const Node& node) const { return done_[index_of(node)]; }
  Isa isa() const noexcept { return isa_; }
  std::size_t num_threads() const noexcept { return num_threads_; }
  WeightCache& weights() noexcept { return weights_; }

  // ---- forms ----
  // The tensor in the wanted layout, stored as it shall be (float32, or uint8 if it is quantized).
  Value get(int id, Layout layout);
  // The same, in float32.
  Value get_real(int id, Layout layout);
  // In whatever layout it is there.
  Value get_any(int id);
  // A layout in which the tensor is there already.
  Layout layout_of(int id);
  // A float constant's real values (dequantized if it is quantized), row-major.
  std::vector<float> constant_floats(int id) const;
  // A new buffer for the tensor in that form; the step that fills it follows.
  Value define(int id, Layout layout, const Storage& storage);
  // Tensor `id` is `value` seen with its own dims: no step, the same buffer.
  void alias(int id, Layout layout, const Value& value);
  // From now on tensor `id` is `value` alone.
  void replace(int id, const Value& value);
  // The same value in memory that may be read past its end: the caller's arrays may not.
  Value with_slack(int id, const Value& value);
  int new_buffer(std::size_t bytes);
  int constant_buffer(std::shared_ptr<const void> data, std::size_t bytes);

  void emit(Step step);
  // A step's first fields from its node.
  Step step_for(const Node& node, std::string kernel, std::string type) const;

 private:
  std::size_t index_of(const Node& node) const {
    return static_cast<std::size_t>(&node - model_.nodes.data());
  }
  void prepare_inputs();
  void finish_outputs(Plan& plan);
  // Grids of more than 8 bits: simulated in float32, by a step after the one that computes the tensor.
  void round_to_wide_grids();
  Value convert(int id, const Value& from, Layout layout, const Storage& storage);
  Value constant_value(int id, Layout layout, bool as_real);
  std::vector<Value>& forms(int id) { return forms_[static_cast<std::size_t>(id)]; }
  void add_form(int id, Value value);

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
  std::vector<bool> is_wide_;       // tensors on wide grids whose rounding is still to come
  std::vector<int> to_be_rounded_;  // those of them that have been computed
  Plan plan_;
};

// The storage of every tensor; see compile/storage.cc.
std::vector<Storage> settle_storage(const Model& model, const std::vector<TensorFacts>& facts,
                                    const std::vector<std::vector<const Node*>>& consumers,
                                    const std::vector<bool>& is_output);

}  // namespace qslim::runtime
