// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "qslim/runtime/compile/compiler.h"

namespace qslim::runtime {

// The average over H and W of the node's input, [N, C, H, W], to its output, which may lack the last two
// axes.
void emit_global_average(Compiler& compiler, const Node& node);

}  // namespace qslim::runtime
