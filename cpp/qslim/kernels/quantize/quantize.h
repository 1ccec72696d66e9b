// SPDX-License-Identifier: Apache-2.0
//
// Floats to int8 or uint8 and back, per tensor or per channel: the checked entry points.
//
//   quantize    q = clamp(round(x * (1 / scale)) + zero_point, qmin, qmax); NaN gives qmin
//   dequantize  y = (q - zero_point) * scale
//
// dequantize(quantize(x)) equals fake_quant(x) bit for bit, but for NaN. Q is std::int8_t or std::uint8_t and
// must hold [qmin, qmax]. Same bits on every instruction set and for any number of threads.
#pragma once

#include "qslim/core/context.h"
#include "qslim/core/span.h"
#include "qslim/core/tensor_view.h"
#include "qslim/kernels/channel_tables.h"

namespace qslim {

template <class Q>
void quantize(Context& context, Span<const float> x, const ChannelExtents& extents,
              const AffineParams& params, Span<Q> q);

template <class Q>
void dequantize(Context& context, Span<const Q> q, const ChannelExtents& extents, const AffineParams& params,
                Span<float> y);

}  // namespace qslim
