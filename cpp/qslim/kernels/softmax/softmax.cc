// SPDX-License-Identifier: Apache-2.0
#include "qslim/kernels/softmax/softmax.h"

#include <algorithm>

#include "qslim/core/dispatch.h"
#include "qslim/kernels/softmax/table.h"

namespace qslim {
namespace {

constexpr std::size_t kTask = 8 << 10;  // elements, some 10 us

}  // namespace

void softmax(Context& context, std::size_t outer, std::size_t axis, std::size_t inner, const float* x,
             float* y) {
  if (outer == 0 || axis == 0 || inner == 0) return;
  const SoftmaxKernels& kernels = best_kernel(kSoftmaxKernels, context.isa());
  if (inner == 1) {
    context.pool().for_each_block(outer, std::max<std::size_t>(kTask / axis, 1), [&](Block block) {
      for (std::size_t r = block.begin; r < block.begin + block.size; ++r) {
        kernels.row(axis, x + r * axis, y + r * axis);
      }
    });
    return;
  }
  const std::size_t pieces = (inner + kSoftmaxColumns - 1) / kSoftmaxColumns;
  const std::size_t per_task = std::max<std::size_t>(kTask / (axis * std::min(inner, kSoftmaxColumns)), 1);
  context.pool().for_each_block(outer * pieces, per_task, [&](Block block) {
    for (std::size_t i = block.begin; i < block.begin + block.size; ++i) {
      const std::size_t column = i % pieces * kSoftmaxColumns, at = i / pieces * axis * inner + column;
      kernels.columns(axis, inner, std::min(kSoftmaxColumns, inner - column), x + at, y + at);
    }
  });
}

}  // namespace qslim
