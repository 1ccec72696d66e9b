// SPDX-License-Identifier: Apache-2.0
#include "qslim/runtime/compile/batch_split.h"

#include <algorithm>
#include <optional>

#include "qslim/core/error.h"
#include "qslim/runtime/compile/inference.h"
#include "qslim/runtime/ops/registry.h"

namespace qslim::runtime {

bool images_stay_apart(const Model& model, std::vector<TensorFacts>& facts, std::int64_t images,
                       const std::vector<Dims>& single) {
  const auto index = [](int id) { return static_cast<std::size_t>(id); };
  for (const int id : model.inputs) {
    const std::optional<Dims>& shape = model.tensors[index(id)].shape;
    const Dims& dims = facts[index(id)].dims;
    if (dims.empty() || dims[0] != images || (shape && (*shape)[0] != kUnknownExtent)) return false;
  }
  std::vector<TensorFacts> one;
  try {
    one = infer(model, single);
  } catch (const InvalidArgument&) {
    return false;  // one image alone does not go through
  }
  const auto is_split = [&](int id) {
    if (id == kAbsent) return true;
    const Dims &all = facts[index(id)].dims, &part = one[index(id)].dims;
    return !all.empty() && !part.empty() && all[0] == images && part[0] == 1 &&
           std::equal(all.begin() + 1, all.end(), part.begin() + 1, part.end());
  };
  const auto is_same = [&](int id) {
    return id == kAbsent || (facts[index(id)].dims == one[index(id)].dims &&
                             facts[index(id)].integers == one[index(id)].integers);
  };
  std::vector<bool> varies(model.tensors.size(), false);  // with the data of the inputs
  for (const int id : model.inputs) varies[index(id)] = true;
  const bool apart = std::all_of(model.nodes.begin(), model.nodes.end(), [&](const Node& node) {
    const auto is_known = [&](int id) { return id == kAbsent || facts[index(id)].integers.has_value(); };
    const auto is_data = [&](int id) { return id != kAbsent && varies[index(id)]; };
    if (std::all_of(node.outputs.begin(), node.outputs.end(), is_known)) return true;
    if (std::none_of(node.inputs.begin(), node.inputs.end(), is_data)) {
      return std::all_of(node.inputs.begin(), node.inputs.end(), is_same) &&
             std::all_of(node.outputs.begin(), node.outputs.end(), is_same);
    }
    for (const int id : node.outputs) {
      if (id != kAbsent) varies[index(id)] = true;
    }
    return std::all_of(node.outputs.begin(), node.outputs.end(), is_split) &&
           find_operator(node)->splits(InferContext(model, node, facts));
  });
  return apart && std::all_of(model.outputs.begin(), model.outputs.end(),
                              [&](int id) { return varies[index(id)] && is_split(id); });
}

}  // namespace qslim::runtime
