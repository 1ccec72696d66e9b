// SPDX-License-Identifier: Apache-2.0
//
// How each tensor is stored: as bytes if it has quantization parameters of at most 8 bits, else as float32.
//
// Operators that only move elements commute with quantization. So a tensor that nobody reads but such
// operators, all of whose results have the same quantization parameters, may be stored with them as well
// (backward); and what such an operator makes of a quantized tensor has that tensor's parameters (forward).
// Neither changes a value.
#pragma once

#include <vector>

#include "qslim/runtime/lowering/infer_context.h"
#include "qslim/runtime/lowering/value.h"

namespace qslim::runtime {

// The storage of every tensor.
std::vector<Storage> settle_storage(const Model& model, const std::vector<TensorFacts>& facts);

}  // namespace qslim::runtime
