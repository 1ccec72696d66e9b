// SPDX-License-Identifier: Apache-2.0
//
// Quantization and dequantization, 16 floats at a time; a mask takes the last ones. Contract: kernels.h.
//
// Operand order matters in max: it returns the second operand for NaN, here lo.
#include "qslim/kernels/x86_avx512.h"
#include "qslim/kernels/quantize/kernels.h"

namespace qslim {
namespace {

struct Params16 {
  __m512 scale, inv_scale, lo, hi, zero_point;
};

// The parameters of the lanes: those of one channel for a whole row, or one channel for each element.
struct OneChannel {
  Params16 params;
  OneChannel(const ChannelParams& p, std::size_t r)
      : params{_mm512_set1_ps(p.scale[r]), _mm512_set1_ps(p.inv_scale[r]), _mm512_set1_ps(p.lo[r]),
               _mm512_set1_ps(p.hi[r]), _mm512_set1_ps(p.zero_point[r])} {}
  Params16 at(std::size_t) const { return params; }
  Params16 at(std::size_t, __mmask16) const { return params; }
};

struct ChannelPerElement {
  const ChannelParams& p;
  Params16 at(std::size_t i) const { return at(i, static_cast<__mmask16>(0xffff)); }
  Params16 at(std::size_t i, __mmask16 mask) const {
    return {_mm512_maskz_loadu_ps(mask, p.scale + i), _mm512_maskz_loadu_ps(mask, p.inv_scale + i),
            _mm512_maskz_loadu_ps(mask, p.lo + i), _mm512_maskz_loadu_ps(mask, p.hi + i),
            _mm512_maskz_loadu_ps(mask, p.zero_point + i)};
  }
};

// The first `count` lanes, 0 < count < 16.
__mmask16 first_lanes(std::size_t count) { return static_cast<__mmask16>((1u << count) - 1u); }

// The low bytes of 16 quantized numbers.
template <Rounding R>
__m128i quantize16(__m512 x, const Params16& g) {
  __m512 v = _mm512_mul_ps(x, g.inv_scale);
  v = _mm512_min_ps(_mm512_max_ps(v, g.lo), g.hi);
  if constexpr (R == Rounding::kTiesToEven) {
    v = _mm512_roundscale_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  } else {
    const __m512 sign = _mm512_and_ps(v, _mm512_set1_ps(-0.0f));
    v = _mm512_add_ps(v, _mm512_or_ps(_mm512_set1_ps(kBelowHalf), sign));
    v = _mm512_roundscale_ps(v, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC);
  }
  return _mm512_cvtepi32_epi8(_mm512_cvttps_epi32(_mm512_add_ps(v, g.zero_point)));
}

template <Rounding R, class Channels>
void quantize(std::size_t n, const float* x, const Channels& channels, std::uint8_t* q) {
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(q + i),
                     quantize16<R>(_mm512_loadu_ps(x + i), channels.at(i)));
  }
  if (i < n) {
    const __mmask16 mask = first_lanes(n - i);
    alignas(16) std::uint8_t bytes[16];
    _mm_store_si128(reinterpret_cast<__m128i*>(bytes),
                    quantize16<R>(_mm512_maskz_loadu_ps(mask, x + i), channels.at(i, mask)));
    __builtin_memcpy(q + i, bytes, n - i);
  }
}

__m512i widen(__m128i bytes, std::int8_t) { return _mm512_cvtepi8_epi32(bytes); }
// An int8 read of an uint8 is 256 too small where it is negative: mask that away.
__m512i widen(__m128i bytes, std::uint8_t) {
  return _mm512_and_si512(_mm512_cvtepi8_epi32(bytes), _mm512_set1_epi32(0xff));
}

template <class Q>
__m512 dequantize16(__m128i bytes, const Params16& g) {
  const __m512 q = _mm512_cvtepi32_ps(widen(bytes, Q{}));
  return _mm512_mul_ps(_mm512_sub_ps(q, g.zero_point), g.scale);
}

template <class Q, class Channels>
void dequantize(std::size_t n, const Q* q, const Channels& channels, float* y) {
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(q + i));
    _mm512_storeu_ps(y + i, dequantize16<Q>(bytes, channels.at(i)));
  }
  if (i < n) {
    const __mmask16 mask = first_lanes(n - i);
    alignas(16) Q bytes[16] = {};
    __builtin_memcpy(bytes, q + i, n - i);
    _mm512_mask_storeu_ps(
        y + i, mask,
        dequantize16<Q>(_mm_load_si128(reinterpret_cast<const __m128i*>(bytes)), channels.at(i, mask)));
  }
}

}  // namespace
}  // namespace qslim

#define QSLIM_SUFFIX avx512
#include "qslim/kernels/quantize/entry_points.inc"
