// SPDX-License-Identifier: Apache-2.0
//
// Elementwise kernels for any machine. Contract: kernels.h.
#define QSLIM_SUFFIX scalar
#include "qslim/kernels/elementwise/loops.inc"

namespace qslim {
namespace {

QSLIM_INLINE std::uint8_t quantize(float r, float inv_scale, float lo, float hi, float zero_point) noexcept {
  float v = r * inv_scale;
  v = v > lo ? v : lo;  // also NaN
  v = v < hi ? v : hi;
  v = (v + kRoundingMagic) - kRoundingMagic;
  return static_cast<std::uint8_t>(static_cast<std::int32_t>(v + zero_point));
}

}  // namespace

void table_u8_scalar(std::size_t n, const std::uint8_t* x, const std::uint8_t* table,
                     std::uint8_t* y) noexcept {
  for (std::size_t i = 0; i < n; ++i) y[i] = table[x[i]];
}

void add_u8_u8_u8_scalar(std::size_t n, const std::uint8_t* a, const std::uint8_t* b,
                         const FusedParams& params, std::uint8_t* q) noexcept {
  const FusedParams p = params;
  QSLIM_INDEPENDENT
  for (std::size_t i = 0; i < n; ++i) {
    const float l = (static_cast<float>(a[i]) - p.a_zero_point) * p.a_scale;
    const float r = (static_cast<float>(b[i]) - p.b_zero_point) * p.b_scale;
    q[i] = quantize(l + r, p.inv_scale, p.lo, p.hi, p.zero_point);
  }
}

void mul_u8_f32_u8_scalar(std::size_t n, const std::uint8_t* a, const float* b, const FusedParams& params,
                          std::uint8_t* q) noexcept {
  const FusedParams p = params;
  QSLIM_INDEPENDENT
  for (std::size_t i = 0; i < n; ++i) {
    const float l = (static_cast<float>(a[i]) - p.a_zero_point) * p.a_scale;
    q[i] = quantize(l * b[i], p.inv_scale, p.lo, p.hi, p.zero_point);
  }
}

}  // namespace qslim
