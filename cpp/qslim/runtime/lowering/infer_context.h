// SPDX-License-Identifier: Apache-2.0
//
// InferContext: one node as its operator's infer function sees it: attributes, and what is known of the
// inputs. TensorFacts: extents, element type and, of small integer tensors (what Shape, Gather and Concat
// make of extents), the values.
#pragma once

#include <optional>
#include <vector>

#include "qslim/runtime/lowering/attributes.h"
#include "qslim/runtime/model/model.h"

namespace qslim::runtime {

struct TensorFacts {
  Dims dims;
  DType dtype = DType::kFloat32;
  std::optional<std::vector<std::int64_t>> integers;  // row-major, where they are known

  std::int64_t rank() const noexcept { return static_cast<std::int64_t>(dims.size()); }
};

// An extent, known not to be negative.
inline std::size_t as_size(std::int64_t extent) noexcept { return static_cast<std::size_t>(extent); }
std::int64_t element_count(const Dims& dims) noexcept;
inline constexpr std::size_t kMaxRank = 8;
// A tensor of more elements than this is a mistake in the model or in the input.
inline constexpr std::int64_t kMaxElements = std::int64_t{1} << 31;
// The values of integer tensors up to this size are inferred; larger ones are data, not extents.
inline constexpr std::int64_t kMaxFollowed = 4096;
// Return false if there are too many axes or elements, or a negative extent.
bool is_sensible(const Dims& dims);
std::string text_of(const Dims& dims);
// `axis` of a tensor of `rank` axes, negative ones counted from the end; InvalidArgument names the node.
std::size_t checked_axis(const Node& node, std::int64_t axis, std::int64_t rank);

// The view that an operator's infer function has of one node.
class InferContext {
 public:
  InferContext(const Model& model, const Node& node, std::vector<TensorFacts>& facts)
      : attributes(node), model_(model), node_(node), facts_(facts) {}

  const Attributes attributes;

  const Node& node() const noexcept { return node_; }
  std::size_t input_count() const noexcept { return node_.inputs.size(); }
  bool has_input(std::size_t i) const noexcept {
    return i < node_.inputs.size() && node_.inputs[i] != kAbsent;
  }
  const TensorFacts& input(std::size_t i) const;
  // Return false for constants and for values that follow from shapes alone.
  bool depends_on_input(std::size_t i) const;
  const Dims& dims(std::size_t i) const { return input(i).dims; }
  // After inference.
  const Dims& output_dims(std::size_t i) const {
    return facts_[static_cast<std::size_t>(node_.outputs[i])].dims;
  }
  std::int64_t rank(std::size_t i) const { return input(i).rank(); }
  // Integers that must be known before the network runs; InvalidArgument if they are not.
  const std::vector<std::int64_t>& integers(std::size_t i) const;
  // The same from input i, or else from attribute `name` (older ONNX), or else empty.
  std::vector<std::int64_t> integers_or(std::size_t i, const char* name) const;
  // A float constant.
  std::vector<float> floats(std::size_t i) const;
  std::size_t axis(std::int64_t axis, std::int64_t rank) const { return checked_axis(node_, axis, rank); }

  void set_output(std::size_t i, Dims dims, DType dtype);
  void set_output(std::size_t i, TensorFacts facts);
  // The kernels of most operators compute with float32 alone.
  void require_real(std::size_t i) const;
  void require(bool condition, const char* what) const {
    QSLIM_REQUIRE(condition, node_.op_type, " '", node_.label, "': ", what);
  }

 private:
  const Model& model_;
  const Node& node_;
  std::vector<TensorFacts>& facts_;
};

}  // namespace qslim::runtime
