// SPDX-License-Identifier: Apache-2.0
//
// Quantization and dequantization, 8 floats at a time. Contract: kernels.h.
//
// Operand order matters in max: it returns the second operand for NaN, here lo.
#include <immintrin.h>

#include "qslim/kernels/quantize/kernels.h"

namespace qslim {
namespace {

struct Params8 {
  __m256 scale, inv_scale, lo, hi, zero_point;
};

// The parameters of the lanes: those of one channel for a whole row, or one channel for each element.
struct OneChannel {
  Params8 params;
  OneChannel(const ChannelParams& p, std::size_t r)
      : params{_mm256_set1_ps(p.scale[r]), _mm256_set1_ps(p.inv_scale[r]), _mm256_set1_ps(p.lo[r]),
               _mm256_set1_ps(p.hi[r]), _mm256_set1_ps(p.zero_point[r])} {}
  Params8 at(std::size_t) const { return params; }
  Params8 at(std::size_t, __m256i) const { return params; }
};

struct ChannelPerElement {
  const ChannelParams& p;
  Params8 at(std::size_t i) const {
    return {_mm256_loadu_ps(p.scale + i), _mm256_loadu_ps(p.inv_scale + i), _mm256_loadu_ps(p.lo + i),
            _mm256_loadu_ps(p.hi + i), _mm256_loadu_ps(p.zero_point + i)};
  }
  Params8 at(std::size_t i, __m256i mask) const {
    return {_mm256_maskload_ps(p.scale + i, mask), _mm256_maskload_ps(p.inv_scale + i, mask),
            _mm256_maskload_ps(p.lo + i, mask), _mm256_maskload_ps(p.hi + i, mask),
            _mm256_maskload_ps(p.zero_point + i, mask)};
  }
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

template <Rounding R>
__m256i quantize8(__m256 x, const Params8& g) {
  __m256 v = _mm256_mul_ps(x, g.inv_scale);
  v = _mm256_min_ps(_mm256_max_ps(v, g.lo), g.hi);
  if constexpr (R == Rounding::kTiesToEven) {
    v = _mm256_round_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  } else {
    const __m256 sign = _mm256_and_ps(v, _mm256_set1_ps(-0.0f));
    v = _mm256_add_ps(v, _mm256_or_ps(_mm256_set1_ps(kBelowHalf), sign));
    v = _mm256_round_ps(v, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC);
  }
  return _mm256_cvttps_epi32(_mm256_add_ps(v, g.zero_point));
}

// Low bytes of 8 integers in [-128, 255].
std::uint64_t low_bytes(__m256i q) {
  const __m128i halfwords = _mm_packs_epi32(_mm256_castsi256_si128(q), _mm256_extracti128_si256(q, 1));
  const __m128i bytes = _mm_packus_epi16(_mm_and_si128(halfwords, _mm_set1_epi16(0xff)), halfwords);
  return static_cast<std::uint64_t>(_mm_cvtsi128_si64(bytes));
}

template <Rounding R, class Channels>
void quantize(std::size_t n, const float* x, const Channels& channels, std::uint8_t* q) {
  std::size_t i = 0;
  const __m256i byte = _mm256_set1_epi16(0xff);
  for (; i + 32 <= n; i += 32) {
    const __m256i a = quantize8<R>(_mm256_loadu_ps(x + i), channels.at(i));
    const __m256i b = quantize8<R>(_mm256_loadu_ps(x + i + 8), channels.at(i + 8));
    const __m256i c = quantize8<R>(_mm256_loadu_ps(x + i + 16), channels.at(i + 16));
    const __m256i d = quantize8<R>(_mm256_loadu_ps(x + i + 24), channels.at(i + 24));
    const __m256i ab = _mm256_and_si256(_mm256_packs_epi32(a, b), byte);
    const __m256i cd = _mm256_and_si256(_mm256_packs_epi32(c, d), byte);
    // Packing works on 128-bit halves: put the groups of four back in order.
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(q + i),
                        _mm256_permutevar8x32_epi32(_mm256_packus_epi16(ab, cd), order));
  }
  for (; i + 8 <= n; i += 8) {
    const std::uint64_t bytes = low_bytes(quantize8<R>(_mm256_loadu_ps(x + i), channels.at(i)));
    __builtin_memcpy(q + i, &bytes, 8);
  }
  if (i == n) return;
  if (n >= 8) {  // the last vector overlaps the one before it
    const std::uint64_t bytes = low_bytes(quantize8<R>(_mm256_loadu_ps(x + n - 8), channels.at(n - 8)));
    __builtin_memcpy(q + n - 8, &bytes, 8);
  } else {
    const __m256i mask = first_lanes(n);
    const std::uint64_t bytes = low_bytes(quantize8<R>(_mm256_maskload_ps(x, mask), channels.at(0, mask)));
    __builtin_memcpy(q, &bytes, n);
  }
}

__m256i widen(__m128i bytes, std::int8_t) { return _mm256_cvtepi8_epi32(bytes); }
__m256i widen(__m128i bytes, std::uint8_t) { return _mm256_cvtepu8_epi32(bytes); }

template <class Q>
__m256 dequantize8(std::uint64_t bytes, const Params8& g) {
  const __m256 q = _mm256_cvtepi32_ps(widen(_mm_cvtsi64_si128(static_cast<long long>(bytes)), Q{}));
  return _mm256_mul_ps(_mm256_sub_ps(q, g.zero_point), g.scale);
}

template <class Q, class Channels>
void dequantize(std::size_t n, const Q* q, const Channels& channels, float* y) {
  std::size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    std::uint64_t bytes;
    __builtin_memcpy(&bytes, q + i, 8);
    _mm256_storeu_ps(y + i, dequantize8<Q>(bytes, channels.at(i)));
  }
  if (i == n) return;
  std::uint64_t bytes = 0;
  if (n >= 8) {  // the last vector overlaps the one before it
    __builtin_memcpy(&bytes, q + n - 8, 8);
    _mm256_storeu_ps(y + n - 8, dequantize8<Q>(bytes, channels.at(n - 8)));
  } else {
    __builtin_memcpy(&bytes, q, n);
    store_first(y, dequantize8<Q>(bytes, channels.at(0, first_lanes(n))), n);
  }
}

}  // namespace
}  // namespace qslim

#define QSLIM_SUFFIX avx2
#include "qslim/kernels/quantize/entry_points.inc"
