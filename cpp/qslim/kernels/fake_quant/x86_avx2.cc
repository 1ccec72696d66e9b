// SPDX-License-Identifier: Apache-2.0
//
// Fake quantization, 8 floats at a time. Contract: kernels.h.
//
// Operand order matters in min and max: they return the second operand for NaN, so v comes second and stays
// NaN.
#include <immintrin.h>

#include <cstdint>

#include "qslim/kernels/fake_quant/kernels.h"

namespace qslim {
namespace {

struct Params8 {
  __m256 scale, inv_scale, lo, hi;
};

// The first `count` lanes, 0 < count < 8.
__m256i first_lanes(std::size_t count) {
  static constexpr std::int32_t kMasks[16] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kMasks + 8 - count));
}

// Stores the first `count` lanes, 0 < count < 8. A masked store takes tens of cycles on AMD cores before
// Zen 5.
void store_first(float* y, __m256 v, std::size_t count) {
  __m128 part = _mm256_castps256_ps128(v);
  if ((count & 4) != 0) {
    _mm_storeu_ps(y, part);
    y += 4;
    part = _mm256_extractf128_ps(v, 1);
  }
  if ((count & 2) != 0) {
    _mm_storel_pi(reinterpret_cast<__m64*>(y), part);
    y += 2;
    part = _mm_movehl_ps(part, part);
  }
  if ((count & 1) != 0) _mm_store_ss(y, part);
}

// The parameters of the lanes: those of one channel for a whole row, or one channel for each element.
struct OneChannel {
  Params8 params;
  OneChannel(const ChannelParams& p, std::size_t r)
      : params{_mm256_set1_ps(p.scale[r]), _mm256_set1_ps(p.inv_scale[r]), _mm256_set1_ps(p.lo[r]),
               _mm256_set1_ps(p.hi[r])} {}
  Params8 at(std::size_t) const { return params; }
  Params8 at(std::size_t, __m256i) const { return params; }
};

struct ChannelPerElement {
  const ChannelParams& p;
  Params8 at(std::size_t i) const {
    return {_mm256_loadu_ps(p.scale + i), _mm256_loadu_ps(p.inv_scale + i), _mm256_loadu_ps(p.lo + i),
            _mm256_loadu_ps(p.hi + i)};
  }
  Params8 at(std::size_t i, __m256i mask) const {
    return {_mm256_maskload_ps(p.scale + i, mask), _mm256_maskload_ps(p.inv_scale + i, mask),
            _mm256_maskload_ps(p.lo + i, mask), _mm256_maskload_ps(p.hi + i, mask)};
  }
};

template <Rounding R>
__m256 round_ps(__m256 v) {
  if constexpr (R == Rounding::kTiesToEven) {
    return _mm256_round_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  } else {
    const __m256 sign = _mm256_and_ps(v, _mm256_set1_ps(-0.0f));
    const __m256 moved = _mm256_add_ps(v, _mm256_or_ps(_mm256_set1_ps(kBelowHalf), sign));
    return _mm256_round_ps(moved, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC);
  }
}

template <Rounding R>
__m256 fake_quant(__m256 x, const Params8& g) {
  __m256 v = _mm256_mul_ps(x, g.inv_scale);
  v = _mm256_max_ps(g.lo, v);
  v = _mm256_min_ps(g.hi, v);
  v = _mm256_add_ps(round_ps<R>(v), _mm256_setzero_ps());  // no negative zero
  return _mm256_mul_ps(v, g.scale);
}

template <Rounding R>
__m256 clipped_gradient(__m256 x, __m256 g, const Params8& params) {
  // One step past either end is as clipped as any more, and small enough for round_ps.
  const __m256 one = _mm256_set1_ps(1.0f);
  __m256 v = _mm256_mul_ps(x, params.inv_scale);
  v = _mm256_max_ps(_mm256_sub_ps(params.lo, one), v);
  v = round_ps<R>(_mm256_min_ps(_mm256_add_ps(params.hi, one), v));
  const __m256 kept =
      _mm256_and_ps(_mm256_cmp_ps(v, params.lo, _CMP_GE_OQ), _mm256_cmp_ps(v, params.hi, _CMP_LE_OQ));
  return _mm256_and_ps(g, kept);
}

// The last vector overlaps the one before it where n is no multiple of 8. It is loaded first: y may be x.
template <Rounding R, class Channels>
void forward(std::size_t n, const float* x, const Channels& channels, float* y) {
  if (n < 8) {
    if (n == 0) return;
    const __m256i mask = first_lanes(n);
    store_first(y, fake_quant<R>(_mm256_maskload_ps(x, mask), channels.at(0, mask)), n);
    return;
  }
  const __m256 last = _mm256_loadu_ps(x + n - 8);
  std::size_t i = 0;
  for (; i + 32 <= n; i += 32) {
    const __m256 x0 = _mm256_loadu_ps(x + i), x1 = _mm256_loadu_ps(x + i + 8);
    const __m256 x2 = _mm256_loadu_ps(x + i + 16), x3 = _mm256_loadu_ps(x + i + 24);
    _mm256_storeu_ps(y + i, fake_quant<R>(x0, channels.at(i)));
    _mm256_storeu_ps(y + i + 8, fake_quant<R>(x1, channels.at(i + 8)));
    _mm256_storeu_ps(y + i + 16, fake_quant<R>(x2, channels.at(i + 16)));
    _mm256_storeu_ps(y + i + 24, fake_quant<R>(x3, channels.at(i + 24)));
  }
  for (; i + 8 <= n; i += 8) _mm256_storeu_ps(y + i, fake_quant<R>(_mm256_loadu_ps(x + i), channels.at(i)));
  if (i < n) _mm256_storeu_ps(y + n - 8, fake_quant<R>(last, channels.at(n - 8)));
}

// Stores past the caches need whole aligned vectors: the ends of a row take the ordinary path.
template <Rounding R>
void forward_streamed(std::size_t n, const float* x, const OneChannel& channels, float* y) {
  const std::size_t to_line = (64 - (reinterpret_cast<std::uintptr_t>(y) & 63)) / sizeof(float) % 16;
  std::size_t i = to_line < n ? to_line : n;
  forward<R>(i, x, channels, y);
  for (; i + 16 <= n; i += 16) {
    _mm256_stream_ps(y + i, fake_quant<R>(_mm256_loadu_ps(x + i), channels.params));
    _mm256_stream_ps(y + i + 8, fake_quant<R>(_mm256_loadu_ps(x + i + 8), channels.params));
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
  if (n < 8) {
    if (n == 0) return;
    const __m256i mask = first_lanes(n);
    const __m256 x0 = _mm256_maskload_ps(x, mask), g0 = _mm256_maskload_ps(g, mask);
    store_first(dx, clipped_gradient<R>(x0, g0, channels.at(0, mask)), n);
    return;
  }
  const __m256 last_x = _mm256_loadu_ps(x + n - 8), last_g = _mm256_loadu_ps(g + n - 8);
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const __m256 x0 = _mm256_loadu_ps(x + i), x1 = _mm256_loadu_ps(x + i + 8);
    const __m256 g0 = _mm256_loadu_ps(g + i), g1 = _mm256_loadu_ps(g + i + 8);
    _mm256_storeu_ps(dx + i, clipped_gradient<R>(x0, g0, channels.at(i)));
    _mm256_storeu_ps(dx + i + 8, clipped_gradient<R>(x1, g1, channels.at(i + 8)));
  }
  for (; i + 8 <= n; i += 8) {
    const __m256 x0 = _mm256_loadu_ps(x + i), g0 = _mm256_loadu_ps(g + i);
    _mm256_storeu_ps(dx + i, clipped_gradient<R>(x0, g0, channels.at(i)));
  }
  if (i < n) _mm256_storeu_ps(dx + n - 8, clipped_gradient<R>(last_x, last_g, channels.at(n - 8)));
}

template <Rounding R>
void backward_rows(std::size_t rows, std::size_t inner, const float* x, const float* g,
                   const ChannelParams& p, float* dx) {
  for (std::size_t r = 0; r < rows; ++r) {
    backward<R>(inner, x + r * inner, g + r * inner, OneChannel(p, r), dx + r * inner);
  }
}

}  // namespace

void fake_quant_f32_rows_avx2(std::size_t rows, std::size_t inner, const float* x, const ChannelParams& p,
                              Rounding rounding, bool stream, float* y) noexcept {
  rounding == Rounding::kTiesToEven ? forward_rows<Rounding::kTiesToEven>(rows, inner, x, p, stream, y)
                                    : forward_rows<Rounding::kTiesAway>(rows, inner, x, p, stream, y);
}

void fake_quant_f32_elements_avx2(std::size_t n, const float* x, const ChannelParams& p, Rounding rounding,
                                  float* y) noexcept {
  const ChannelPerElement channels{p};
  rounding == Rounding::kTiesToEven ? forward<Rounding::kTiesToEven>(n, x, channels, y)
                                    : forward<Rounding::kTiesAway>(n, x, channels, y);
}

void fake_quant_backward_f32_rows_avx2(std::size_t rows, std::size_t inner, const float* x, const float* g,
                                       const ChannelParams& p, Rounding rounding, float* dx) noexcept {
  rounding == Rounding::kTiesToEven ? backward_rows<Rounding::kTiesToEven>(rows, inner, x, g, p, dx)
                                    : backward_rows<Rounding::kTiesAway>(rows, inner, x, g, p, dx);
}

void fake_quant_backward_f32_elements_avx2(std::size_t n, const float* x, const float* g,
                                           const ChannelParams& p, Rounding rounding, float* dx) noexcept {
  const ChannelPerElement channels{p};
  rounding == Rounding::kTiesToEven ? backward<Rounding::kTiesToEven>(n, x, g, channels, dx)
                                    : backward<Rounding::kTiesAway>(n, x, g, channels, dx);
}

}  // namespace qslim
