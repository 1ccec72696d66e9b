// SPDX-License-Identifier: Apache-2.0
//
// Softmax over the middle axis of x [outer, axis, inner]:
//
//   y = e / sum(e),  e = exp(x - max(x))
//
// exp is that of formulas/elementary.h. With inner = 1 the sum runs in 16 lanes (kernels/lanes.h),
// else over the axis in order, from +0. A row that holds a NaN or +inf, or -inf only, becomes NaN. y may be
// x. Allocates nothing.
#pragma once

#include <cstddef>

#include "qslim/core/context.h"

namespace qslim {

void softmax(Context& context, std::size_t outer, std::size_t axis, std::size_t inner, const float* x,
             float* y);

}  // namespace qslim
