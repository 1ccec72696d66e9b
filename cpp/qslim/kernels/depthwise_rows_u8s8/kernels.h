// SPDX-License-Identifier: Apache-2.0
//
// Int8 depthwise convolution by whole rows: the functions of each instruction set. reference/conv.h is the
// specification.
//
//   requantize             y[row, i, c] = clamp(round(r[row, i, c] * inverse_scale) + zero_point, lo, hi)
//   requantize_hard_swish  the same of HardSwish(r[row, i, c])
//   real                   y[row, i, c] = r[row, i, c], float
//
// with r of depthwise_rows.h, rounded after the product and after the sum. x is raw bytes; start is the zero
// point's share. Included by per-ISA files: plain declarations only.
#pragma once

#include "qslim/kernels/conv_blocks/depthwise_rows.h"

namespace qslim {

using DepthwiseRowsRequantizeFn = void (*)(const DepthwiseRows& rows, const Requantization& p) noexcept;
using DepthwiseRowsRealFn = void (*)(const DepthwiseRows& rows) noexcept;

#define QSLIM_DEPTHWISE_ROWS_U8S8_KERNELS(isa, suffix)                                                       \
  void depthwise_rows_u8s8_requantize_##suffix(const DepthwiseRows& rows, const Requantization& p) noexcept; \
  void depthwise_rows_u8s8_requantize_hard_swish_##suffix(const DepthwiseRows& rows,                         \
                                                          const Requantization& p) noexcept;                 \
  void depthwise_rows_u8s8_real_##suffix(const DepthwiseRows& rows) noexcept;
#include "qslim/kernels/depthwise_rows_u8s8/kernels.inc"
#undef QSLIM_DEPTHWISE_ROWS_U8S8_KERNELS

}  // namespace qslim
