// SPDX-License-Identifier: Apache-2.0
//
// Kernels of reductions over an axis: the functions of each instruction set. Contract: axis_reductions.h; the
// mean is left to the caller.
//
//   row      of one contiguous row
//   columns  of `columns` neighbouring columns of a [axis, inner] plane
//   argmax   likewise, columns <= kArgmaxColumns
//
// Included by per-ISA files: plain declarations only.
#pragma once

#include <cstddef>
#include <cstdint>

#include "qslim/kernels/axis_reductions/operations.h"

namespace qslim {

inline constexpr std::size_t kArgmaxColumns = 64;

using ReduceRowFn = float (*)(ReduceOp op, std::size_t n, const float* x) noexcept;
using ReduceColumnsFn = void (*)(ReduceOp op, std::size_t axis, std::size_t inner, std::size_t columns,
                                 const float* x, float* y) noexcept;
using ArgmaxColumnsFn = void (*)(std::size_t axis, std::size_t inner, std::size_t columns, const float* x,
                                 bool last, std::int64_t* y) noexcept;

#define QSLIM_AXIS_REDUCTIONS_KERNELS(isa, suffix)                                                       \
  float reduce_row_##suffix(ReduceOp op, std::size_t n, const float* x) noexcept;                        \
  void reduce_columns_##suffix(ReduceOp op, std::size_t axis, std::size_t inner, std::size_t columns,    \
                               const float* x, float* y) noexcept;                                       \
  void argmax_columns_##suffix(std::size_t axis, std::size_t inner, std::size_t columns, const float* x, \
                               bool last, std::int64_t* y) noexcept;
#include "qslim/kernels/axis_reductions/kernels.inc"
#undef QSLIM_AXIS_REDUCTIONS_KERNELS

}  // namespace qslim
