// SPDX-License-Identifier: Apache-2.0
#include "qslim/runtime/compile/compile.h"

#include <algorithm>
#include <utility>

#include "qslim/runtime/compile/storage.h"
#include "qslim/runtime/lowering/compiler.h"
#include "qslim/runtime/ops/registry.h"

namespace qslim::runtime {

Plan compile(const Model& model, std::vector<TensorFacts> facts, Isa isa, std::size_t num_threads,
             WeightCache& weights, OutputUse output_use) {
  std::vector<Storage> storage = settle_storage(model, facts);
  Compiler compiler(model, std::move(facts), std::move(storage), isa, num_threads, weights, output_use);
  compiler.prepare_inputs();
  for (const Node& node : model.nodes) {
    if (compiler.is_done(node)) continue;
    const bool is_known = std::all_of(node.outputs.begin(), node.outputs.end(), [&](int id) {
      return id == kAbsent || compiler.facts(id).integers.has_value();
    });
    compiler.mark_done(node);
    if (!is_known) find_operator(node)->compile(compiler, node);
    compiler.round_wide_tensors();
    compiler.show_outputs();
  }
  return compiler.finish();
}

}  // namespace qslim::runtime
