// SPDX-License-Identifier: Apache-2.0
//
// Gradients of quantizers that learn their range: the checked entry points.
//
//   pact_backward   clamp(x, -threshold, threshold), or clamp(x, 0, threshold)
//   lsq_backward    fake_quant(x) with a learned scale and, beside it, a learned offset
//
// reference/learned_quant.h has the formulas. The sums have extents.channels elements, in the order of
// reduce.h. Same bits on every instruction set and for any number of threads. dx may be x or g; else it must
// overlap neither.
#pragma once

#include "qslim/core/context.h"
#include "qslim/core/span.h"
#include "qslim/core/tensor_view.h"
#include "qslim/kernels/channel_tables.h"

namespace qslim {

// threshold: one for the whole tensor or one per channel, finite and >= 0.
void pact_backward(Context& context, Span<const float> x, Span<const float> g, const ChannelExtents& extents,
                   Span<const float> threshold, bool is_unsigned, Span<float> dx, Span<double> dthreshold);

// Rounds ties to even, whatever params.rounding says: that is the quantizer that is trained.
void lsq_backward(Context& context, Span<const float> x, Span<const float> g, const ChannelExtents& extents,
                  const AffineParams& params, Span<float> dx, Span<double> dscale, Span<double> doffset);

}  // namespace qslim
