// SPDX-License-Identifier: Apache-2.0
#include "qslim/runtime/lowering/infer_context.h"

#include <algorithm>
#include <cstring>
#include <sstream>
#include <utility>

namespace qslim::runtime {

bool is_sensible(const Dims& dims) {
  std::int64_t count = 1;
  for (const std::int64_t extent : dims) {
    if (extent < 0 || (extent != 0 && count > kMaxElements / extent)) return false;
    count *= std::max<std::int64_t>(extent, 1);
  }
  return dims.size() <= kMaxRank;
}

std::int64_t element_count(const Dims& dims) noexcept {
  std::int64_t count = 1;
  for (const std::int64_t extent : dims) count *= extent;
  return count;
}

std::string text_of(const Dims& dims) {
  std::ostringstream text;
  text << '(';
  for (std::size_t i = 0; i < dims.size(); ++i) {
    if (i != 0) text << ", ";
    if (dims[i] == kUnknownExtent) {
      text << '?';
    } else {
      text << dims[i];
    }
  }
  text << (dims.size() == 1 ? ",)" : ")");
  return text.str();
}

std::size_t checked_axis(const Node& node, std::int64_t axis, std::int64_t rank) {
  QSLIM_REQUIRE(axis >= -rank && axis < rank, node.op_type, " '", node.label, "': axis ", axis,
                " is not one of a tensor of ", rank, " axes");
  return static_cast<std::size_t>(axis < 0 ? axis + rank : axis);
}

const TensorFacts& InferContext::input(std::size_t i) const {
  QSLIM_REQUIRE(has_input(i), node_.op_type, " '", node_.label, "': input ", i, " is missing");
  return facts_[static_cast<std::size_t>(node_.inputs[i])];
}

bool InferContext::depends_on_input(std::size_t i) const {
  return has_input(i) && !input(i).integers &&
         !model_.tensors[static_cast<std::size_t>(node_.inputs[i])].is_constant();
}

const std::vector<std::int64_t>& InferContext::integers(std::size_t i) const {
  const TensorFacts& facts = input(i);
  QSLIM_REQUIRE(facts.integers.has_value(), node_.op_type, " '", node_.label, "': input ", i, " ('",
                model_.tensors[static_cast<std::size_t>(node_.inputs[i])].name,
                "') must not depend on the data, only on the inputs' shapes");
  return *facts.integers;
}

std::vector<std::int64_t> InferContext::integers_or(std::size_t i, const char* name) const {
  return has_input(i) ? integers(i) : attributes.integers(name);
}

std::vector<float> InferContext::floats(std::size_t i) const {
  const Tensor& tensor = model_.tensors[static_cast<std::size_t>(has_input(i) ? node_.inputs[i] : 0)];
  QSLIM_REQUIRE(
      has_input(i) && tensor.is_constant() && tensor.dtype == DType::kFloat32 && !tensor.quantization,
      node_.op_type, " '", node_.label, "': input ", i, " must be a float32 constant");
  std::vector<float> values(static_cast<std::size_t>(element_count(*tensor.shape)));
  if (!values.empty()) std::memcpy(values.data(), tensor.data, values.size() * sizeof(float));
  return values;
}

void InferContext::require_real(std::size_t i) const {
  QSLIM_REQUIRE(input(i).dtype == DType::kFloat32, node_.op_type, " '", node_.label, "': input ", i,
                " must be float32, it is ", name_of(input(i).dtype));
}

void InferContext::set_output(std::size_t i, Dims dims, DType dtype) {
  set_output(i, TensorFacts{std::move(dims), dtype, std::nullopt});
}

void InferContext::set_output(std::size_t i, TensorFacts facts) {
  if (i >= node_.outputs.size() || node_.outputs[i] == kAbsent) return;
  QSLIM_REQUIRE(is_sensible(facts.dims), node_.op_type, " '", node_.label, "': its output would have shape ",
                text_of(facts.dims), "; is the input too small or too large for this network?");
  const std::int64_t count = element_count(facts.dims);
  if (facts.integers && count > kMaxFollowed) facts.integers.reset();
  // Lists of extents may be empty, data may not: kernels divide by extents.
  QSLIM_REQUIRE(count > 0 || facts.integers, node_.op_type, " '", node_.label,
                "': its output would be empty, of shape ", text_of(facts.dims));
  const Tensor& tensor = model_.tensors[static_cast<std::size_t>(node_.outputs[i])];
  QSLIM_REQUIRE(!tensor.quantization || facts.dtype == DType::kFloat32, node_.op_type, " '", node_.label,
                "': its output '", tensor.name, "' has a quantization but is ", name_of(facts.dtype));
  facts_[static_cast<std::size_t>(node_.outputs[i])] = std::move(facts);
}

}  // namespace qslim::runtime
