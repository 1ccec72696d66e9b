// SPDX-License-Identifier: Apache-2.0
//
// abs_max, min_max, sum and sum_of_squares of a tensor, whole or per channel: the checked entry points.
//
// Results have extents.channels elements. abs_max and min_max of a channel that holds a NaN are NaN; abs_max
// of nothing is 0, the sums of nothing are 0, min_max of nothing is an InvalidArgument. Sums are doubles in
// the fixed order of reference/reduce.h, each (outer, channel) row for itself, then over outer in order. Same
// bits on every instruction set and for any number of threads.
#pragma once

#include "qslim/core/context.h"
#include "qslim/core/span.h"
#include "qslim/core/tensor_view.h"

namespace qslim {

void abs_max(Context& context, Span<const float> x, const ChannelExtents& extents, Span<float> result);
void min_max(Context& context, Span<const float> x, const ChannelExtents& extents, Span<float> min,
             Span<float> max);
void sum(Context& context, Span<const float> x, const ChannelExtents& extents, Span<double> result);
void sum_of_squares(Context& context, Span<const float> x, const ChannelExtents& extents,
                    Span<double> result);

// One block on the calling thread, unchecked: min[r] and max[r] of each row; one of the two is NaN where the
// row holds a NaN. inner > 0.
void min_max_rows(Isa isa, std::size_t rows, std::size_t inner, const float* x, float* min, float* max);

}  // namespace qslim
