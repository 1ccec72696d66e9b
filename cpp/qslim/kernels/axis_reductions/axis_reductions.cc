// SPDX-License-Identifier: Apache-2.0
#include "qslim/kernels/axis_reductions/axis_reductions.h"

#include <algorithm>
#include <iterator>
#include <limits>

#include "qslim/core/dispatch.h"
#include "qslim/kernels/axis_reductions/table.h"

namespace qslim {
namespace {

constexpr std::size_t kTask = 16 << 10;  // elements
constexpr std::size_t kColumns = 512;    // results of one task, in the first-level cache

// Calls body(outer index, first column, columns) over pieces of at most max_columns.
template <class Body>
void for_each_piece(Context& context, std::size_t outer, std::size_t axis, std::size_t inner,
                    std::size_t max_columns, const Body& body) {
  if (outer == 0 || inner == 0) return;
  const std::size_t pieces = (inner + max_columns - 1) / max_columns;
  const std::size_t piece = std::max<std::size_t>(axis * std::min(inner, max_columns), 1);
  context.pool().for_each_block(outer * pieces, std::max<std::size_t>(kTask / piece, 1), [&](Block block) {
    for (std::size_t i = block.begin; i < block.begin + block.size; ++i) {
      const std::size_t column = i % pieces * max_columns;
      body(i / pieces, column, std::min(max_columns, inner - column));
    }
  });
}

}  // namespace

void reduce_axes(Context& context, ReduceOp op, std::size_t outer, std::size_t axis, std::size_t inner,
                 const float* x, float* y) {
  const AxisReductionsKernels& kernels = best_kernel(kAxisReductionsKernels, context.isa());
  const float count = static_cast<float>(axis);
  for_each_piece(context, outer, axis, inner, kColumns,
                 [&](std::size_t o, std::size_t column, std::size_t columns) {
                   float* const to = y + o * inner + column;
                   if (inner == 1) {
                     *to = kernels.row(op, axis, x + o * axis);
                   } else {
                     kernels.columns(op, axis, inner, columns, x + o * axis * inner + column, to);
                   }
                   if (op == ReduceOp::kMean) {
                     for (std::size_t c = 0; c < columns; ++c) to[c] /= count;
                   }
                 });
}

void argmax(Context& context, std::size_t outer, std::size_t axis, std::size_t inner, const float* x,
            std::int64_t* y, bool last) {
  QSLIM_REQUIRE(axis > 0 && axis <= static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max()),
                "argmax: the axis must have 1 to 2^31 - 1 elements, got ", axis);
  const AxisReductionsKernels& kernels = best_kernel(kAxisReductionsKernels, context.isa());
  for_each_piece(context, outer, axis, inner, kArgmaxColumns,
                 [&](std::size_t o, std::size_t column, std::size_t columns) {
                   const float* const from = x + o * axis * inner + column;
                   std::int64_t* const to = y + o * inner + column;
                   if (inner > 1) return kernels.argmax(axis, inner, columns, from, last, to);
                   const float largest = kernels.row(ReduceOp::kMax, axis, from);
                   const auto is_largest = [largest](float value) {
                     return value == largest || value != value;
                   };
                   if (largest != largest || !last) {
                     *to = std::find_if(from, from + axis, is_largest) - from;
                   } else {
                     const auto found = std::find_if(std::make_reverse_iterator(from + axis),
                                                     std::make_reverse_iterator(from), is_largest);
                     *to = found.base() - from - 1;
                   }
                 });
}

}  // namespace qslim
