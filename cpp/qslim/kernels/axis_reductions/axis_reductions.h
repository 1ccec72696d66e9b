// SPDX-License-Identifier: Apache-2.0
//
// Reductions over the middle axis of x [outer, axis, inner] to y [outer, inner]. kernels/reduce has
// statistics of a whole tensor, in double.
//
// With inner = 1 a reduction runs in 16 lanes (kernels/lanes.h), else over the axis in order, from the
// neutral element: sum, mean, sum of squares +0; product 1; max -inf; min +inf. An empty axis gives that
// element, and the mean of nothing is NaN. In max and min a NaN wins; of +0 and -0 either may come out.
//
//   mean    sum / float(axis)
//   argmax  the first index of the largest, the last with `last`; the first NaN counts as largest
//
// Callers bring axes that are not neighbours together first (strided_copy). Allocates nothing.
#pragma once

#include <cstddef>
#include <cstdint>

#include "qslim/core/context.h"
#include "qslim/kernels/axis_reductions/operations.h"

namespace qslim {

void reduce_axes(Context& context, ReduceOp op, std::size_t outer, std::size_t axis, std::size_t inner,
                 const float* x, float* y);
void argmax(Context& context, std::size_t outer, std::size_t axis, std::size_t inner, const float* x,
            std::int64_t* y, bool last = false);

}  // namespace qslim
