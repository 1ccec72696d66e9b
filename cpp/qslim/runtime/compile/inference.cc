// SPDX-License-Identifier: Apache-2.0
#include "qslim/runtime/compile/inference.h"

#include <algorithm>
#include <cstring>
#include <sstream>
#include <utility>

#include "qslim/runtime/ops/registry.h"

namespace qslim::runtime {
namespace {

// Integer tensors up to this size are followed; larger ones are data, not extents.
constexpr std::int64_t kMaxFollowed = 4096;
// A tensor of more elements than this is a mistake in the model or in the input, not a wish.
constexpr std::int64_t kMaxElements = std::int64_t{1} << 31;

// False if there are too many axes or elements, or a negative extent.
bool is_sensible(const Dims& dims) {
  std::int64_t count = 1;
  for (const std::int64_t extent : dims) {
    if (extent < 0 || (extent != 0 && count > kMaxElements / extent)) return false;
    count *= std::max<std::int64_t>(extent, 1);
  }
  return dims.size() <= kMaxRank;
}

std::optional<std::vector<std::int64_t>> integers_of(const Tensor& tensor, std::int64_t count) {
  if (count > kMaxFollowed) return std::nullopt;
  std::vector<std::int64_t> values(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (tensor.dtype == DType::kInt64) {
      std::memcpy(&values[i], tensor.data + 8 * i, 8);
    } else if (tensor.dtype == DType::kInt32) {
      std::int32_t value;
      std::memcpy(&value, tensor.data + 4 * i, 4);
      values[i] = value;
    } else {
      return std::nullopt;
    }
  }
  return values;
}

void check_input(const Tensor& tensor, const Dims& dims) {
  bool fits = !tensor.shape || tensor.shape->size() == dims.size();
  for (std::size_t i = 0; fits && tensor.shape && i < dims.size(); ++i) {
    fits = (*tensor.shape)[i] == kUnknownExtent || (*tensor.shape)[i] == dims[i];
  }
  QSLIM_REQUIRE(fits, "input '", tensor.name, "': expected an array of shape ",
                tensor.shape ? text_of(*tensor.shape) : std::string("?"), ", got ", text_of(dims));
  for (const std::int64_t extent : dims) {
    QSLIM_REQUIRE(extent > 0, "input '", tensor.name, "': expected at least one element, got shape ",
                  text_of(dims));
  }
  QSLIM_REQUIRE(is_sensible(dims), "input '", tensor.name, "': shape ", text_of(dims), " is more than ",
                kMaxRank, " axes or ", kMaxElements, " elements");
}

}  // namespace

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

std::vector<TensorFacts> infer(const Model& model, const std::vector<Dims>& input_dims) {
  QSLIM_REQUIRE(input_dims.size() == model.inputs.size(), "expected ", model.inputs.size(), " inputs, got ",
                input_dims.size());
  std::vector<TensorFacts> facts(model.tensors.size());
  for (std::size_t i = 0; i < model.tensors.size(); ++i) {
    const Tensor& tensor = model.tensors[i];
    if (!tensor.is_constant()) continue;
    facts[i] = TensorFacts{*tensor.shape, tensor.dtype, integers_of(tensor, element_count(*tensor.shape))};
  }
  for (std::size_t i = 0; i < input_dims.size(); ++i) {
    const Tensor& tensor = model.tensors[static_cast<std::size_t>(model.inputs[i])];
    check_input(tensor, input_dims[i]);
    facts[static_cast<std::size_t>(model.inputs[i])] = TensorFacts{input_dims[i], tensor.dtype, std::nullopt};
  }
  for (const Node& node : model.nodes) {
    const Operator* op = find_operator(node);
    QSLIM_REQUIRE(op != nullptr, "operator '", node.domain.empty() ? "" : node.domain + ".", node.op_type,
                  "' ('", node.label, "') has no kernel here");
    QSLIM_REQUIRE(node.outputs[0] != kAbsent, "operator '", node.op_type, "': its first output has no name");
    InferContext context(model, node, facts);
    QSLIM_REQUIRE(!context.has_input(0) || context.input(0).integers || element_count(context.dims(0)) > 0,
                  node.op_type, " '", node.label, "': its input is empty, of shape ",
                  text_of(facts[static_cast<std::size_t>(node.inputs[0])].dims));
    op->infer(context);
  }
  return facts;
}

}  // namespace qslim::runtime
