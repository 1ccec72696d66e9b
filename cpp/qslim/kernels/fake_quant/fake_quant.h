// SPDX-License-Identifier: Apache-2.0
//
// Fake quantization of a tensor, per tensor or per channel, and its gradient: the checked entry points.
//
//   y = (q - zero_point) * scale,   q = clamp(round(x * (1 / scale)) + zero_point, qmin, qmax)
//
// reference/fake_quant.h gives every corner (NaN, infinities, zeros, both roundings). The result has the same
// bits on every instruction set and for any number of threads. y may be x; else the two must not overlap.
#pragma once

#include <cstdint>

#include "qslim/core/context.h"
#include "qslim/core/span.h"
#include "qslim/core/tensor_view.h"
#include "qslim/kernels/channel_tables.h"

namespace qslim {

enum class Gradient : std::uint8_t {
  kStraightThrough,  // dx = g: Paddle's training kernels
  kClipped,          // dx = g where x was not clipped, else 0
};

void fake_quant(Context& context, Span<const float> x, const ChannelExtents& extents,
                const AffineParams& params, Span<float> y);

void fake_quant_backward(Context& context, Span<const float> x, Span<const float> g,
                         const ChannelExtents& extents, const AffineParams& params, Gradient gradient,
                         Span<float> dx);

}  // namespace qslim
