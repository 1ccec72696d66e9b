// SPDX-License-Identifier: Apache-2.0
//
// Quantization and dequantization kernels: the functions of each instruction set. reference/fake_quant.h is
// the specification.
//
//   quantize       q = clamp(round(x * inv_scale) + zero_point, qmin, qmax), NaN gives qmin
//   dequantize     y = (q - zero_point) * scale
//   ..._rows       [rows, inner], row r with parameters p[r]
//   ..._elements   [n], element i with parameters p[i]
//
// quantize writes the low byte of q, so one kernel serves int8 and uint8: the caller keeps [qmin, qmax]
// inside the type. Nothing is aligned. Included by per-ISA files: plain declarations only.
#pragma once

#include <cstddef>
#include <cstdint>

#include "qslim/core/rounding.h"
#include "qslim/kernels/channel_params.h"

namespace qslim {

using QuantizeRowsFn = void (*)(std::size_t rows, std::size_t inner, const float* x, const ChannelParams& p,
                                Rounding rounding, std::uint8_t* q) noexcept;
using QuantizeElementsFn = void (*)(std::size_t n, const float* x, const ChannelParams& p, Rounding rounding,
                                    std::uint8_t* q) noexcept;
template <class Q>
using DequantizeRowsFn = void (*)(std::size_t rows, std::size_t inner, const Q* q, const ChannelParams& p,
                                  float* y) noexcept;
template <class Q>
using DequantizeElementsFn = void (*)(std::size_t n, const Q* q, const ChannelParams& p, float* y) noexcept;

#define QSLIM_QUANTIZE_KERNELS(isa, suffix)                                                                \
  void quantize_f32_x8_rows_##suffix(std::size_t rows, std::size_t inner, const float* x,                  \
                                     const ChannelParams& p, Rounding rounding, std::uint8_t* q) noexcept; \
  void quantize_f32_x8_elements_##suffix(std::size_t n, const float* x, const ChannelParams& p,            \
                                         Rounding rounding, std::uint8_t* q) noexcept;                     \
  void dequantize_s8_f32_rows_##suffix(std::size_t rows, std::size_t inner, const std::int8_t* q,          \
                                       const ChannelParams& p, float* y) noexcept;                         \
  void dequantize_s8_f32_elements_##suffix(std::size_t n, const std::int8_t* q, const ChannelParams& p,    \
                                           float* y) noexcept;                                             \
  void dequantize_u8_f32_rows_##suffix(std::size_t rows, std::size_t inner, const std::uint8_t* q,         \
                                       const ChannelParams& p, float* y) noexcept;                         \
  void dequantize_u8_f32_elements_##suffix(std::size_t n, const std::uint8_t* q, const ChannelParams& p,   \
                                           float* y) noexcept;
#include "qslim/kernels/quantize/kernels.inc"
#undef QSLIM_QUANTIZE_KERNELS

}  // namespace qslim
