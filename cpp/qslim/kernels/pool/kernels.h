// SPDX-License-Identifier: Apache-2.0
//
// Pooling kernels: the functions of each instruction set. A window is a list of up to kPoolTaps pixels; where
// it has fewer the caller repeats the first (max) or passes a shorter count (sums). n is the number of
// channels.
//
//   max    y[c] = max over the taps of x[tap][c], and of y[c] if `merge`; taps is 4 or kPoolTaps
//   sum    acc[c] += x[0][c] + ... + x[taps - 1][c], floats one after the other in this order
//   scale  y[c] = float(acc[c] - offset) * multiplier;  divide  y[c] = acc[c] / count
//
// Included by per-ISA files: plain declarations only.
#pragma once

#include <cstddef>
#include <cstdint>

namespace qslim {

inline constexpr std::size_t kPoolTaps = 9;

template <class T>
using PoolMaxFn = void (*)(std::size_t n, std::size_t taps, const T* const* x, bool merge, T* y) noexcept;
template <class T, class Sum>
using PoolSumFn = void (*)(std::size_t n, std::size_t taps, const T* const* x, Sum* acc) noexcept;
using PoolScaleFn = void (*)(std::size_t n, const std::int32_t* acc, std::int32_t offset, float multiplier,
                             float* y) noexcept;
using PoolDivideFn = void (*)(std::size_t n, const float* acc, float count, float* y) noexcept;

#define QSLIM_POOL_KERNELS(isa, suffix)                                                                    \
  void pool_max_u8_##suffix(std::size_t n, std::size_t taps, const std::uint8_t* const* x, bool merge,     \
                            std::uint8_t* y) noexcept;                                                     \
  void pool_max_f32_##suffix(std::size_t n, std::size_t taps, const float* const* x, bool merge,           \
                             float* y) noexcept;                                                           \
  void pool_sum_u8_##suffix(std::size_t n, std::size_t taps, const std::uint8_t* const* x,                 \
                            std::int32_t* acc) noexcept;                                                   \
  void pool_sum_f32_##suffix(std::size_t n, std::size_t taps, const float* const* x, float* acc) noexcept; \
  void pool_scale_##suffix(std::size_t n, const std::int32_t* acc, std::int32_t offset, float multiplier,  \
                           float* y) noexcept;                                                             \
  void pool_divide_##suffix(std::size_t n, const float* acc, float count, float* y) noexcept;
#include "qslim/kernels/pool/kernels.inc"
#undef QSLIM_POOL_KERNELS

}  // namespace qslim
