// SPDX-License-Identifier: Apache-2.0
//
// Int8 matrix products: the functions of each instruction set. reference/conv.h is the specification.
//
//   gather                 image patches to rows of A: uint8, or int16 less x_zero_point (kernels.inc: depth)
//   gather_columns         the same for uint8, column by column, so that rows of A overlap (PatchBlock)
//   requantize             y[m, n] = clamp(round(r[m, n] * inverse_scale) + zero_point, lo, hi), uint8
//   requantize_sum         the same of r[m, n] + (residual[m, n] - residual_zero_point) * residual_scale,
//                          each operation rounded
//   requantize_hard_swish  the same of HardSwish(r[m, n])
//   real                   y[m, n] = r[m, n], float
//
// with r[m, n] = float(acc[m, n]) * multiplier[n] + bias[n], rounded after the product and after the sum.
// Sums wrap modulo 2^32, so start may be the zero point's share and only the total has to fit. Included by
// per-ISA files: plain declarations only.
#pragma once

#include "qslim/kernels/conv_blocks/gemm_block.h"

namespace qslim {

using GatherFn = void (*)(const PatchBlock& patches) noexcept;
using GemmRequantizeFn = void (*)(const GemmBlock& block, const Requantization& p) noexcept;
using GemmRealFn = void (*)(const GemmBlock& block) noexcept;

#define QSLIM_GEMM_U8S8_KERNELS(isa, suffix, lanes, max_vectors, depth, packed_order, byte_shift, \
                                gather_columns, requantize_sum, requantize_hard_swish)            \
  void gather_u8_##suffix(const PatchBlock& patches) noexcept;                                    \
  void gemm_u8s8_requantize_##suffix(const GemmBlock& block, const Requantization& p) noexcept;   \
  void gemm_u8s8_real_##suffix(const GemmBlock& block) noexcept;
#include "qslim/kernels/gemm_u8s8/kernels.inc"
#undef QSLIM_GEMM_U8S8_KERNELS

#if QSLIM_BUILD_X86
void gather_columns_u8_avx512vnni(const PatchBlock& patches) noexcept;
void gemm_u8s8_requantize_sum_avx512vnni(const GemmBlock& block, const Requantization& p) noexcept;
void gemm_u8s8_requantize_hard_swish_avx512vnni(const GemmBlock& block, const Requantization& p) noexcept;
#endif

}  // namespace qslim
