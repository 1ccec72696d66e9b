// SPDX-License-Identifier: Apache-2.0
//
// Fake quantization without any vector intrinsics; the fallback of every machine. Contract: kernels.h.
//
// Clamping comes before rounding here: lo and hi are integers, so the result is the same, and a clamped
// position is small enough for the rounding tricks below. Compilers vectorize these loops for SSE2.
#include <cstdint>

#include "qslim/kernels/fake_quant/kernels.h"

namespace qslim {
namespace {

template <Rounding R>
float round_small(float v) noexcept {
  if constexpr (R == Rounding::kTiesToEven) {
    // 1.5 * 2^23: the sum has no fraction bits left, so the addition itself rounds, to even.
    constexpr float kMagic = 0x1.8p23f;
    return (v + kMagic) - kMagic;
  } else {
    if (v != v) return v;
    const float moved = v + (v < 0 ? -kBelowHalf : kBelowHalf);
    return static_cast<float>(static_cast<std::int32_t>(moved));
  }
}

template <Rounding R>
float fake_quant(float x, float scale, float inv_scale, float lo, float hi) noexcept {
  float v = x * inv_scale;
  v = v < lo ? lo : v;
  v = v > hi ? hi : v;
  return (round_small<R>(v) + 0.0f) * scale;  // + 0.0f: no negative zero
}

template <Rounding R>
float clipped_gradient(float x, float g, float inv_scale, float lo, float hi) noexcept {
  float v = x * inv_scale;
  v = v < lo - 1 ? lo - 1 : v;
  v = v > hi + 1 ? hi + 1 : v;
  const float position = round_small<R>(v);
  return position >= lo && position <= hi ? g : 0.0f;
}

template <Rounding R>
void forward_rows(std::size_t rows, std::size_t inner, const float* x, const ChannelParams& p,
                  float* y) noexcept {
  for (std::size_t r = 0; r < rows; ++r, x += inner, y += inner) {
    const float scale = p.scale[r], inv_scale = p.inv_scale[r], lo = p.lo[r], hi = p.hi[r];
    for (std::size_t i = 0; i < inner; ++i) y[i] = fake_quant<R>(x[i], scale, inv_scale, lo, hi);
  }
}

template <Rounding R>
void forward_elements(std::size_t n, const float* x, const ChannelParams& p, float* y) noexcept {
  for (std::size_t i = 0; i < n; ++i)
    y[i] = fake_quant<R>(x[i], p.scale[i], p.inv_scale[i], p.lo[i], p.hi[i]);
}

template <Rounding R>
void backward_rows(std::size_t rows, std::size_t inner, const float* x, const float* g,
                   const ChannelParams& p, float* dx) noexcept {
  for (std::size_t r = 0; r < rows; ++r, x += inner, g += inner, dx += inner) {
    const float inv_scale = p.inv_scale[r], lo = p.lo[r], hi = p.hi[r];
    for (std::size_t i = 0; i < inner; ++i) dx[i] = clipped_gradient<R>(x[i], g[i], inv_scale, lo, hi);
  }
}

template <Rounding R>
void backward_elements(std::size_t n, const float* x, const float* g, const ChannelParams& p,
                       float* dx) noexcept {
  for (std::size_t i = 0; i < n; ++i)
    dx[i] = clipped_gradient<R>(x[i], g[i], p.inv_scale[i], p.lo[i], p.hi[i]);
}

}  // namespace

void fake_quant_f32_rows_scalar(std::size_t rows, std::size_t inner, const float* x, const ChannelParams& p,
                                Rounding rounding, bool /*stream*/, float* y) noexcept {
  rounding == Rounding::kTiesToEven ? forward_rows<Rounding::kTiesToEven>(rows, inner, x, p, y)
                                    : forward_rows<Rounding::kTiesAway>(rows, inner, x, p, y);
}

void fake_quant_f32_elements_scalar(std::size_t n, const float* x, const ChannelParams& p, Rounding rounding,
                                    float* y) noexcept {
  rounding == Rounding::kTiesToEven ? forward_elements<Rounding::kTiesToEven>(n, x, p, y)
                                    : forward_elements<Rounding::kTiesAway>(n, x, p, y);
}

void fake_quant_backward_f32_rows_scalar(std::size_t rows, std::size_t inner, const float* x, const float* g,
                                         const ChannelParams& p, Rounding rounding, float* dx) noexcept {
  rounding == Rounding::kTiesToEven ? backward_rows<Rounding::kTiesToEven>(rows, inner, x, g, p, dx)
                                    : backward_rows<Rounding::kTiesAway>(rows, inner, x, g, p, dx);
}

void fake_quant_backward_f32_elements_scalar(std::size_t n, const float* x, const float* g,
                                             const ChannelParams& p, Rounding rounding, float* dx) noexcept {
  rounding == Rounding::kTiesToEven ? backward_elements<Rounding::kTiesToEven>(n, x, g, p, dx)
                                    : backward_elements<Rounding::kTiesAway>(n, x, g, p, dx);
}

}  // namespace qslim
