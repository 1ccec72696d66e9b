// SPDX-License-Identifier: Apache-2.0
//
// Int8 depthwise convolution: the functions of each instruction set. reference/conv.h is the specification.
//
//   requantize  y[i, c] = clamp(round(r[i, c]) + zero_point, lo, hi), uint8
//   real        y[i, c] = r[i, c], float
//
// with r[i, c] = float(acc[i, c]) * multiplier[c] + bias[c], rounded after the product and after the sum. x
// is raw bytes; start is the zero point's share. Included by per-ISA files: plain declarations only.
#pragma once

#include "qslim/kernels/conv_blocks/depthwise_span.h"

namespace qslim {

using DepthwiseRequantizeFn = void (*)(const DepthwiseSpan& span, const Requantization& p) noexcept;
using DepthwiseRealFn = void (*)(const DepthwiseSpan& span) noexcept;

#define QSLIM_DEPTHWISE_U8S8_KERNELS(isa, suffix, lanes, vectors, depth, packed_order)                  \
  void depthwise_u8s8_requantize_##suffix(const DepthwiseSpan& span, const Requantization& p) noexcept; \
  void depthwise_u8s8_real_##suffix(const DepthwiseSpan& span) noexcept;
#include "qslim/kernels/depthwise_u8s8/kernels.inc"
#undef QSLIM_DEPTHWISE_U8S8_KERNELS

}  // namespace qslim
