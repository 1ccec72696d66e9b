// SPDX-License-Identifier: Apache-2.0
#include "qslim/runtime/ops/registry.h"

#include <unordered_map>

namespace qslim::runtime {
namespace {

constexpr Operator kOperators[] = {
#define QSLIM_OP(Name) {#Name, infer_##Name, compile_##Name, splits_##Name},
#include "qslim/runtime/ops/ops.inc"
#undef QSLIM_OP
};

}  // namespace

const Operator* find_operator(const Node& node) {
  // Never destroyed, like every table here: threads may outlive the end of main().
  static const auto& by_name = *[] {
    auto* const map = new std::unordered_map<std::string, const Operator*>;
    for (const Operator& op : kOperators) map->emplace(op.name, &op);
    return map;
  }();
  if (!node.domain.empty()) return nullptr;
  const auto found = by_name.find(node.op_type);
  return found == by_name.end() ? nullptr : found->second;
}

std::vector<std::string> operator_names() {
  std::vector<std::string> names;
  for (const Operator& op : kOperators) names.emplace_back(op.name);
  return names;
}

}  // namespace qslim::runtime
