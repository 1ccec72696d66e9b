// SPDX-License-Identifier: Apache-2.0
//
// Elementwise kernels: the functions of each instruction set. elementwise.cc cuts the work into blocks that
// stay in the first-level cache and calls these on them.
//
//   step     y[i] = op(a[i], b[i]); unary operations do not read b. y may be a or b, never a shifted part.
//   table    y[i] = table[x[i]], 256 entries; y may be x
//   add      q[i] = Q(A(a[i]) + B(b[i]))    the fused forms: what load, step and store would give, bit for bit,
//   mul      q[i] = Q(A(a[i]) * b[i])       without blocks in between
//
// Nothing is aligned. Included by per-ISA files: plain declarations only.
#pragma once

#include <cstddef>
#include <cstdint>

#include "qslim/formulas/elementwise_op.h"

namespace qslim {

struct FusedParams {
  float a_scale, a_zero_point, b_scale, b_zero_point;
  // lo = qmin - zero_point and hi = qmax - zero_point, or a clip's bounds times inv_scale between them. All
  // of lo, hi and zero_point fit 16 bits.
  float inv_scale, lo, hi, zero_point;
};

using ElementwiseStepFn = void (*)(ElementwiseOp op, std::size_t n, const float* a, const float* b, float p,
                                   float q, float* y) noexcept;
using ElementwiseTableFn = void (*)(std::size_t n, const std::uint8_t* x, const std::uint8_t* table,
                                    std::uint8_t* y) noexcept;
using ElementwiseAddFn = void (*)(std::size_t n, const std::uint8_t* a, const std::uint8_t* b,
                                  const FusedParams& p, std::uint8_t* q) noexcept;
using ElementwiseMulFn = void (*)(std::size_t n, const std::uint8_t* a, const float* b, const FusedParams& p,
                                  std::uint8_t* q) noexcept;

#define QSLIM_ELEMENTWISE_KERNELS(isa, suffix)                                                             \
  void elementwise_step_##suffix(ElementwiseOp op, std::size_t n, const float* a, const float* b, float p, \
                                 float q, float* y) noexcept;                                              \
  void table_u8_##suffix(std::size_t n, const std::uint8_t* x, const std::uint8_t* table,                  \
                         std::uint8_t* y) noexcept;                                                        \
  void add_u8_u8_u8_##suffix(std::size_t n, const std::uint8_t* a, const std::uint8_t* b,                  \
                             const FusedParams& p, std::uint8_t* q) noexcept;                              \
  void mul_u8_f32_u8_##suffix(std::size_t n, const std::uint8_t* a, const float* b, const FusedParams& p,  \
                              std::uint8_t* q) noexcept;
#include "qslim/kernels/elementwise/kernels.inc"
#undef QSLIM_ELEMENTWISE_KERNELS

}  // namespace qslim
