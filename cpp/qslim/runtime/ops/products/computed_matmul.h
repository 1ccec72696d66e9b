// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "qslim/runtime/lowering/compiler.h"

namespace qslim::runtime {

// A matrix product of two operands that are both computed, or a batch of them, in float32.
void emit_matmul(Compiler& compiler, const Node& node);

}  // namespace qslim::runtime
