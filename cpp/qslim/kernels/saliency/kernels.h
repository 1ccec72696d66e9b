// SPDX-License-Identifier: Apache-2.0
//
// Filter saliency: the functions of each instruction set. reference/saliency.h is the specification.
//
//   sum_of_magnitudes   sum of |x[i]|           ..._rows      row r of x[rows, inner] adds to acc[r], in the
//   sum_of_products     sum of x[i] * g[i]                    order of sum_order.h
//                                               ..._elements  element i of n adds to acc[i]
//   squared_distances   acc[i][j][lane] += (a[i][k] - b[j][k])^2 for k % kDistanceLanes == lane, rising k
//
// All arithmetic is double. squared_distances works on panels: a and b have kDistanceRows rows of
// kDistanceRun doubles, of which the first rows_a, rows_b and k count; k is a multiple of kDistanceLanes. acc
// is [kDistanceRows][kDistanceRows][kDistanceLanes]; rows past the last ones may be read and written. No
// allocation, no exceptions, no threads. Included by per-ISA files: plain declarations only.
#pragma once

#include <cstddef>

namespace qslim {

// Two panels, 64 KiB, stay in the second-level cache, the six rows at work in the first. Runs of 64 to 512
// are equally fast on Zen 3.
inline constexpr std::size_t kDistanceRows = 32;
inline constexpr std::size_t kDistanceRun = 128;
inline constexpr std::size_t kDistanceLanes = 4;

using SumOfMagnitudesRowsFn = void (*)(std::size_t rows, std::size_t inner, const float* x,
                                       double* acc) noexcept;
using SumOfMagnitudesElementsFn = void (*)(std::size_t n, const float* x, double* acc) noexcept;
using SumOfProductsRowsFn = void (*)(std::size_t rows, std::size_t inner, const float* x, const float* g,
                                     double* acc) noexcept;
using SumOfProductsElementsFn = void (*)(std::size_t n, const float* x, const float* g, double* acc) noexcept;
using SquaredDistancesFn = void (*)(std::size_t rows_a, std::size_t rows_b, std::size_t k, const double* a,
                                    const double* b, double* acc) noexcept;

#define QSLIM_SALIENCY_KERNELS(isa, suffix)                                                          \
  void sum_of_magnitudes_f32_rows_##suffix(std::size_t rows, std::size_t inner, const float* x,      \
                                           double* acc) noexcept;                                    \
  void sum_of_magnitudes_f32_elements_##suffix(std::size_t n, const float* x, double* acc) noexcept; \
  void sum_of_products_f32_rows_##suffix(std::size_t rows, std::size_t inner, const float* x,        \
                                         const float* g, double* acc) noexcept;                      \
  void sum_of_products_f32_elements_##suffix(std::size_t n, const float* x, const float* g,          \
                                             double* acc) noexcept;                                  \
  void squared_distances_f64_##suffix(std::size_t rows_a, std::size_t rows_b, std::size_t k,         \
                                      const double* a, const double* b, double* acc) noexcept;
#include "qslim/kernels/saliency/kernels.inc"
#undef QSLIM_SALIENCY_KERNELS

}  // namespace qslim
