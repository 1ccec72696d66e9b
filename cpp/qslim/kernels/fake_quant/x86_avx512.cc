// SPDX-License-Identifier: Apache-2.0
//
// Fake quantization, 16 floats at a time; a mask takes the last ones. Contract: kernels.h.
//
// Operand order matters in min and max: they return the second operand for NaN, so v comes second and stays
// NaN.
#include <cstdint>

#include "qslim/kernels/fake_quant/kernels.h"
#include "qslim/kernels/x86_avx512.h"

namespace qslim {
namespace {

struct Params16 {
  __m512 scale, inv_scale, lo, hi;
};

// The first `count` lanes, 0 < count < 16.
__mmask16 first_lanes(std::size_t count) { return static_cast<__mmask16>((1u << count) - 1u); }

// The parameters of the lanes: those of one channel for a whole row, or one channel for each element.
struct OneChannel {
  Params16 params;
  OneChannel(const ChannelParams& p, std::size_t r)
      : params{_mm512_set1_ps(p.scale[r]), _mm512_set1_ps(p.inv_scale[r]), _mm512_set1_ps(p.lo[r]),
               _mm512_set1_ps(p.hi[r])} {}
  Params16 at(std::size_t) const { return params; }
  Params16 at(std::size_t, __mmask16) const { return params; }
};

struct ChannelPerElement {
  const ChannelParams& p;
  Params16 at(std::size_t i) const {
    return {_mm512_loadu_ps(p.scale + i), _mm512_loadu_ps(p.inv_scale + i), _mm512_loadu_ps(p.lo + i),
            _mm512_loadu_ps(p.hi + i)};
  }
  Params16 at(std::size_t i, __mmask16 mask) const {
    return {_mm512_maskz_loadu_ps(mask, p.scale + i), _mm512_maskz_loadu_ps(mask, p.inv_scale + i),
            _mm512_maskz_loadu_ps(mask, p.lo + i), _mm512_maskz_loadu_ps(mask, p.hi + i)};
  }
};

template <Rounding R>
__m512 round_ps(__m512 v) {
  if constexpr (R == Rounding::kTiesToEven) {
    return _mm512_roundscale_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  } else {
    const __m512 sign = _mm512_and_ps(v, _mm512_set1_ps(-0.0f));
    const __m512 moved = _mm512_add_ps(v, _mm512_or_ps(_mm512_set1_ps(kBelowHalf), sign));
    return _mm512_roundscale_ps(moved, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC);
  }
}

template <Rounding R>
__m512 fake_quant(__m512 x, const Params16& g) {
  __m512 v = _mm512_mul_ps(x, g.inv_scale);
  v = _mm512_max_ps(g.lo, v);
  v = _mm512_min_ps(g.hi, v);
  v = _mm512_add_ps(round_ps<R>(v), _mm512_setzero_ps());  // no negative zero
  return _mm512_mul_ps(v, g.scale);
}

template <Rounding R>
__m512 clipped_gradient(__m512 x, __m512 g, const Params16& params) {
  // One step past either end is as clipped as any more, and small enough for round_ps.
  const __m512 one = _mm512_set1_ps(1.0f);
  __m512 v = _mm512_mul_ps(x, params.inv_scale);
  v = _mm512_max_ps(_mm512_sub_ps(params.lo, one), v);
  v = round_ps<R>(_mm512_min_ps(_mm512_add_ps(params.hi, one), v));
  const __mmask16 above = _mm512_cmp_ps_mask(v, params.lo, _CMP_GE_OQ);
  const __mmask16 below = _mm512_cmp_ps_mask(v, params.hi, _CMP_LE_OQ);
  return _mm512_maskz_mov_ps(static_cast<__mmask16>(above & below), g);
}

template <Rounding R, class Channels>
void forward(std::size_t n, const float* x, const Channels& channels, float* y) {
  std::size_t i = 0;
  for (; i + 64 <= n; i += 64) {
    const __m512 x0 = _mm512_loadu_ps(x + i), x1 = _mm512_loadu_ps(x + i + 16);
    const __m512 x2 = _mm512_loadu_ps(x + i + 32), x3 = _mm512_loadu_ps(x + i + 48);
    _mm512_storeu_ps(y + i, fake_quant<R>(x0, channels.at(i)));
    _mm512_storeu_ps(y + i + 16, fake_quant<R>(x1, channels.at(i + 16)));
    _mm512_storeu_ps(y + i + 32, fake_quant<R>(x2, channels.at(i + 32)));
    _mm512_storeu_ps(y + i + 48, fake_quant<R>(x3, channels.at(i + 48)));
  }
  for (; i + 16 <= n; i += 16) _mm512_storeu_ps(y + i, fake_quant<R>(_mm512_loadu_ps(x + i), channels.at(i)));
  if (i < n) {
    const __mmask16 mask = first_lanes(n - i);
    _mm512_mask_storeu_ps(y + i, mask,
                          fake_quant<R>(_mm512_maskz_loadu_ps(mask, x + i), channels.at(i, mask)));
  }
}

// Stores past the caches need whole aligned vectors: the ends of a row take the ordinary path.
template <Rounding R>
void forward_streamed(std::size_t n, const float* x, const OneChannel& channels, float* y) {
  const std::size_t to_line = (64 - (reinterpret_cast<std::uintptr_t>(y) & 63)) / sizeof(float) % 16;
  std::size_t i = to_line < n ? to_line : n;
  forward<R>(i, x, channels, y);
  for (; i + 16 <= n; i += 16) {
    _mm512_stream_ps(y + i, fake_quant<R>(_mm512_loadu_ps(x + i), channels.params));
  }
  forward<R>(n - i, x + i, channels, y + i);
}

template <Rounding R>
void forward_rows(std::size_t rows, std::size_t inner, const float* x, const ChannelParams& p, bool stream,
                  float* y) {
  if (stream && (reinterpret_cast<std::uintptr_t>(y) & 3) == 0) {
    for (std::size_t r = 0; r < rows; ++r) {
      forward_streamed<R>(inner, x + r * inner, OneChannel(p, r), y + r * inner);
    }
    _mm_sfence();
    return;
  }
  for (std::size_t r = 0; r < rows; ++r) forward<R>(inner, x + r * inner, OneChannel(p, r), y + r * inner);
}

template <Rounding R, class Channels>
void backward(std::size_t n, const float* x, const float* g, const Channels& channels, float* dx) {
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const __m512 x0 = _mm512_loadu_ps(x + i), g0 = _mm512_loadu_ps(g + i);
    _mm512_storeu_ps(dx + i, clipped_gradient<R>(x0, g0, channels.at(i)));
  }
  if (i < n) {
    const __mmask16 mask = first_lanes(n - i);
    const __m512 x0 = _mm512_maskz_loadu_ps(mask, x + i), g0 = _mm512_maskz_loadu_ps(mask, g + i);
    _mm512_mask_storeu_ps(dx + i, mask, clipped_gradient<R>(x0, g0, channels.at(i, mask)));
  }
}

template <Rounding R>
void backward_rows(std::size_t rows, std::size_t inner, const float* x, const float* g,
                   const ChannelParams& p, float* dx) {
  for (std::size_t r = 0; r < rows; ++r) {
    backward<R>(inner, x + r * inner, g + r * inner, OneChannel(p, r), dx + r * inner);
  }
}

}  // namespace

void fake_quant_f32_rows_avx512(std::size_t rows, std::size_t inner, const float* x, const ChannelParams& p,
                                Rounding rounding, bool stream, float* y) noexcept {
  rounding == Rounding::kTiesToEven ? forward_rows<Rounding::kTiesToEven>(rows, inner, x, p, stream, y)
                                    : forward_rows<Rounding::kTiesAway>(rows, inner, x, p, stream, y);
}

void fake_quant_f32_elements_avx512(std::size_t n, const float* x, const ChannelParams& p, Rounding rounding,
                                    float* y) noexcept {
  const ChannelPerElement channels{p};
  rounding == Rounding::kTiesToEven ? forward<Rounding::kTiesToEven>(n, x, channels, y)
                                    : forward<Rounding::kTiesAway>(n, x, channels, y);
}

void fake_quant_backward_f32_rows_avx512(std::size_t rows, std::size_t inner, const float* x, const float* g,
                                         const ChannelParams& p, Rounding rounding, float* dx) noexcept {
  rounding == Rounding::kTiesToEven ? backward_rows<Rounding::kTiesToEven>(rows, inner, x, g, p, dx)
                                    : backward_rows<Rounding::kTiesAway>(rows, inner, x, g, p, dx);
}

void fake_quant_backward_f32_elements_avx512(std::size_t n, const float* x, const float* g,
                                             const ChannelParams& p, Rounding rounding, float* dx) noexcept {
  const ChannelPerElement channels{p};
  rounding == Rounding::kTiesToEven ? backward<Rounding::kTiesToEven>(n, x, g, channels, dx)
                                    : backward<Rounding::kTiesAway>(n, x, g, channels, dx);
}

}  // namespace qslim
