// SPDX-License-Identifier: Apache-2.0
#include "qslim/runtime/compile/inference.h"

#include <cstring>
#include <utility>

#include "qslim/runtime/ops/registry.h"

namespace qslim::runtime {
namespace {

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
