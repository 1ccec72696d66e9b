// SPDX-License-Identifier: Apache-2.0
//
// A channel shuffle, found in the graph and compiled as one step.
#pragma once

#include "qslim/runtime/lowering/compiler.h"

namespace qslim::runtime {

// Compile Reshape [N, g, C/g, H, W], Transpose of axes 1 and 2, Reshape back as one step on channels-last
// memory. Return false, with nothing done, if `node` does not begin such a pattern.
bool emit_channel_shuffle(Compiler& compiler, const Node& node);

}  // namespace qslim::runtime
