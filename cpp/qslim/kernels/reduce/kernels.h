// SPDX-License-Identifier: Apache-2.0
//
// Reduction kernels: the functions of each instruction set. reference/reduce.h is the specification.
//
//   ..._rows       folds row r of x[rows, inner] into acc[r]
//   ..._elements   folds x[i] into acc[i], i < n; the caller walks the rows of a channels-last tensor
//
// abs_max keeps the bits of |x| as unsigned integers, min_max the order keys, the sums doubles. The caller
// fills the accumulators first: 0; INT32_MAX and INT32_MIN; 0.0. A row is summed in blocks of 4096 elements
// of 16 lanes each, its total is then added to acc[r]. Nothing is aligned. Included by per-ISA files: plain
// declarations only.
#pragma once

#include <cstddef>
#include <cstdint>

#include "qslim/kernels/sum_order.h"

namespace qslim {

using AbsMaxRowsFn = void (*)(std::size_t rows, std::size_t inner, const float* x,
                              std::uint32_t* acc) noexcept;
using AbsMaxElementsFn = void (*)(std::size_t n, const float* x, std::uint32_t* acc) noexcept;
using MinMaxRowsFn = void (*)(std::size_t rows, std::size_t inner, const float* x, std::int32_t* min_acc,
                              std::int32_t* max_acc) noexcept;
using MinMaxElementsFn = void (*)(std::size_t n, const float* x, std::int32_t* min_acc,
                                  std::int32_t* max_acc) noexcept;
using SumRowsFn = void (*)(std::size_t rows, std::size_t inner, const float* x, double* acc) noexcept;
using SumElementsFn = void (*)(std::size_t n, const float* x, double* acc) noexcept;

#define QSLIM_REDUCE_KERNELS(isa, suffix)                                                                    \
  void abs_max_f32_rows_##suffix(std::size_t rows, std::size_t inner, const float* x,                        \
                                 std::uint32_t* acc) noexcept;                                               \
  void abs_max_f32_elements_##suffix(std::size_t n, const float* x, std::uint32_t* acc) noexcept;            \
  void min_max_f32_rows_##suffix(std::size_t rows, std::size_t inner, const float* x, std::int32_t* min_acc, \
                                 std::int32_t* max_acc) noexcept;                                            \
  void min_max_f32_elements_##suffix(std::size_t n, const float* x, std::int32_t* min_acc,                   \
                                     std::int32_t* max_acc) noexcept;                                        \
  void sum_f32_rows_##suffix(std::size_t rows, std::size_t inner, const float* x, double* acc) noexcept;     \
  void sum_f32_elements_##suffix(std::size_t n, const float* x, double* acc) noexcept;                       \
  void sum_of_squares_f32_rows_##suffix(std::size_t rows, std::size_t inner, const float* x,                 \
                                        double* acc) noexcept;                                               \
  void sum_of_squares_f32_elements_##suffix(std::size_t n, const float* x, double* acc) noexcept;
#include "qslim/kernels/reduce/kernels.inc"
#undef QSLIM_REDUCE_KERNELS

}  // namespace qslim
