// SPDX-License-Identifier: Apache-2.0
//
// Quantization and dequantization without vector intrinsics. Contract: kernels.h.
#include "qslim/kernels/quantize/kernels.h"

namespace qslim {
namespace {

template <Rounding R>
std::uint8_t quantize(float x, float inv_scale, float lo, float hi, float zero_point) noexcept {
  float v = x * inv_scale;
  v = v > lo ? v : lo;  // also NaN
  v = v < hi ? v : hi;
  if constexpr (R == Rounding::kTiesToEven) {
    constexpr float kMagic = 0x1.8p23f;  // the sum has no fraction bits left: adding it rounds, to even
    v = (v + kMagic) - kMagic;
  } else {
    v += v < 0 ? -kBelowHalf : kBelowHalf;
    v = static_cast<float>(static_cast<std::int32_t>(v));
  }
  return static_cast<std::uint8_t>(static_cast<std::int32_t>(v + zero_point));
}

template <Rounding R>
void quantize_rows(std::size_t rows, std::size_t inner, const float* x, const ChannelParams& p,
                   std::uint8_t* q) noexcept {
  for (std::size_t r = 0; r < rows; ++r, x += inner, q += inner) {
    const float inv_scale = p.inv_scale[r], lo = p.lo[r], hi = p.hi[r], zero_point = p.zero_point[r];
    for (std::size_t i = 0; i < inner; ++i) q[i] = quantize<R>(x[i], inv_scale, lo, hi, zero_point);
  }
}

template <Rounding R>
void quantize_elements(std::size_t n, const float* x, const ChannelParams& p, std::uint8_t* q) noexcept {
  for (std::size_t i = 0; i < n; ++i)
    q[i] = quantize<R>(x[i], p.inv_scale[i], p.lo[i], p.hi[i], p.zero_point[i]);
}

template <class Q>
void dequantize_rows(std::size_t rows, std::size_t inner, const Q* q, const ChannelParams& p,
                     float* y) noexcept {
  for (std::size_t r = 0; r < rows; ++r, q += inner, y += inner) {
    const float scale = p.scale[r], zero_point = p.zero_point[r];
    for (std::size_t i = 0; i < inner; ++i) y[i] = (static_cast<float>(q[i]) - zero_point) * scale;
  }
}

template <class Q>
void dequantize_elements(std::size_t n, const Q* q, const ChannelParams& p, float* y) noexcept {
  for (std::size_t i = 0; i < n; ++i) y[i] = (static_cast<float>(q[i]) - p.zero_point[i]) * p.scale[i];
}

}  // namespace

void quantize_f32_x8_rows_scalar(std::size_t rows, std::size_t inner, const float* x, const ChannelParams& p,
                                 Rounding rounding, std::uint8_t* q) noexcept {
  rounding == Rounding::kTiesToEven ? quantize_rows<Rounding::kTiesToEven>(rows, inner, x, p, q)
                                    : quantize_rows<Rounding::kTiesAway>(rows, inner, x, p, q);
}

void quantize_f32_x8_elements_scalar(std::size_t n, const float* x, const ChannelParams& p, Rounding rounding,
                                     std::uint8_t* q) noexcept {
  rounding == Rounding::kTiesToEven ? quantize_elements<Rounding::kTiesToEven>(n, x, p, q)
                                    : quantize_elements<Rounding::kTiesAway>(n, x, p, q);
}

void dequantize_s8_f32_rows_scalar(std::size_t rows, std::size_t inner, const std::int8_t* q,
                                   const ChannelParams& p, float* y) noexcept {
  dequantize_rows(rows, inner, q, p, y);
}

void dequantize_s8_f32_elements_scalar(std::size_t n, const std::int8_t* q, const ChannelParams& p,
                                       float* y) noexcept {
  dequantize_elements(n, q, p, y);
}

void dequantize_u8_f32_rows_scalar(std::size_t rows, std::size_t inner, const std::uint8_t* q,
                                   const ChannelParams& p, float* y) noexcept {
  dequantize_rows(rows, inner, q, p, y);
}

void dequantize_u8_f32_elements_scalar(std::size_t n, const std::uint8_t* q, const ChannelParams& p,
                                       float* y) noexcept {
  dequantize_elements(n, q, p, y);
}

}  // namespace qslim
