// SPDX-License-Identifier: Apache-2.0
#include "qslim/runtime/ops/registry.h"

#include <algorithm>
#include <unordered_map>

namespace qslim::runtime {
namespace {

constexpr Operator kOperators[] = {
#define QSLIM_OP(Name, moves) {#Name, Moves::moves, infer_##Name, compile_##Name, splits_##Name},
#include "qslim/runtime/ops/ops.inc"
#undef QSLIM_OP
};

}  // namespace

const char* name_of(Moves moves) noexcept {
  switch (moves) {
    case Moves::kComputes: return "computes";
    case Moves::kMoves: return "moves";
    case Moves::kMovesAll: return "moves_all";
    case Moves::kMovesIfNearest: return "moves_if_nearest";
    case Moves::kPads: return "pads";
  }
  return "?";
}

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
  std::sort(names.begin(), names.end());
  return names;
}

std::vector<std::pair<std::string, std::string>> operator_traits() {
  std::vector<std::pair<std::string, std::string>> traits;
  for (const Operator& op : kOperators) traits.emplace_back(op.name, name_of(op.moves));
  std::sort(traits.begin(), traits.end());
  return traits;
}

}  // namespace qslim::runtime
