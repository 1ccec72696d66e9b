// SPDX-License-Identifier: Apache-2.0
//
// Float depthwise convolution: the functions of each instruction set. reference/conv.h is the specification.
//
//   y[i, c] = min(max(sum + bias[c], lo), hi)
//
// Each sum is one chain of fused multiply-adds over the taps, from +0. NaN stays. Included by per-ISA files:
// plain declarations only.
#pragma once

#include "qslim/kernels/conv_blocks/depthwise_span.h"

namespace qslim {

using DepthwiseF32Fn = void (*)(const DepthwiseSpan& span, const Clamp& clamp) noexcept;

#define QSLIM_DEPTHWISE_F32_KERNELS(isa, suffix, lanes) \
  void depthwise_f32_##suffix(const DepthwiseSpan& span, const Clamp& clamp) noexcept;
#include "qslim/kernels/depthwise_f32/kernels.inc"
#undef QSLIM_DEPTHWISE_F32_KERNELS

}  // namespace qslim
