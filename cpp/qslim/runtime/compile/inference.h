// SPDX-License-Identifier: Apache-2.0
//
// Inference: the extents and element types of every tensor of a Model for given input extents, and the values
// of small integer tensors, so that operators see constants.
#pragma once

#include <vector>

#include "qslim/runtime/lowering/infer_context.h"

namespace qslim::runtime {

// Return the facts of every tensor. InvalidArgument names the node that cannot take its inputs, or the input
// of the wrong extents.
std::vector<TensorFacts> infer(const Model& model, const std::vector<Dims>& input_dims);

}  // namespace qslim::runtime
