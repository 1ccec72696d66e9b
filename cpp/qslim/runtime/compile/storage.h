// SPDX-License-Identifier: Apache-2.0
//
// The storage of each tensor: bytes if it has quantization parameters of at most 8 bits, else float32.
//
// Operators that only move elements commute with quantization. So a tensor that only such operators
// read, all of whose results have the same quantization parameters, may be stored with them as well
// (backward); and the result of such an operator on a quantized tensor has that tensor's parameters
// (forward). Neither changes a value.
#pragma once

#include <vector>

#include "qslim/runtime/lowering/infer_context.h"
#include "qslim/runtime/lowering/value.h"

namespace qslim::runtime {

// Return the storage of every tensor.
std::vector<Storage> settle_storage(const Model& model, const std::vector<TensorFacts>& facts);

}  // namespace qslim::runtime
