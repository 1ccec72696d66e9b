// SPDX-License-Identifier: Apache-2.0
//
// From a Model with known extents to a Plan.
#pragma once

#include <cstddef>
#include <vector>

#include "qslim/core/isa.h"
#include "qslim/runtime/lowering/infer_context.h"
#include "qslim/runtime/lowering/weight_cache.h"
#include "qslim/runtime/plan/plan.h"

namespace qslim::runtime {

// `facts` are those of infer(). InvalidArgument names the node that cannot be compiled.
Plan compile(const Model& model, std::vector<TensorFacts> facts, Isa isa, std::size_t num_threads,
             WeightCache& weights, OutputUse output_use = OutputUse::kReturned);

}  // namespace qslim::runtime
