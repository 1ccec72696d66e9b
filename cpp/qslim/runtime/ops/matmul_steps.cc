// SPDX-License-Identifier: Apache-2.0
#include "qslim/runtime/ops/matmul_steps.h"

#include "qslim/core/error.h"

namespace qslim::runtime {

void emit_matmul(Compiler&, const Node& node) {
  throw InvalidArgument(concatenate("MatMul '", node.label, "': not there yet"));
}

}  // namespace qslim::runtime
