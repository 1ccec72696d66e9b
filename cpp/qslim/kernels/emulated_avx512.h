// SPDX-License-Identifier: Apache-2.0
//
// Tests only: AVX-512 on an AVX2 machine, by SIMDe, plus the intrinsics that SIMDe 0.7 does not have yet.
// They use the AVX2 instruction of the same name on both halves where there is one, so conversions of NaN and
// of large numbers behave as the hardware does; masked loads and stores touch the chosen lanes and no others.
#pragma once

#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>

#include <cstdint>

namespace qslim {
namespace {

struct Halves {
  __m256 low, high;
};

inline Halves halves_of(__m512 v) {
  Halves h;
  __builtin_memcpy(&h, &v, sizeof h);
  return h;
}

template <class To, class From>
To bits_as(const From& from) {
  static_assert(sizeof(To) == sizeof(From), "");
  To to;
  __builtin_memcpy(&to, &from, sizeof to);
  return to;
}

template <class T, std::size_t N>
struct Lanes {
  T lane[N];
};

inline __m512 emulated_maskz_loadu_ps(__mmask16 mask, const float* p) {
  Lanes<float, 16> v = {};
  for (int i = 0; i < 16; ++i) {
    if ((mask >> i & 1) != 0) v.lane[i] = p[i];
  }
  return bits_as<__m512>(v);
}

inline void emulated_mask_storeu_ps(float* p, __mmask16 mask, __m512 v) {
  const auto lanes = bits_as<Lanes<float, 16>>(v);
  for (int i = 0; i < 16; ++i) {
    if ((mask >> i & 1) != 0) p[i] = lanes.lane[i];
  }
}

inline void emulated_stream_ps(float* p, __m512 v) {
  if ((reinterpret_cast<std::uintptr_t>(p) & 63) != 0) __builtin_trap();  // as the hardware does
  const Halves h = halves_of(v);
  _mm256_stream_ps(p, h.low);
  _mm256_stream_ps(p + 8, h.high);
}

// SIMDe has _mm512_roundscale_ps, but it returns some operands unrounded.
template <int Mode>
__m512 emulated_roundscale_ps(__m512 v) {
  static_assert(Mode < 16, "only to whole numbers");
  const Halves h = halves_of(v);
  const Halves rounded = {_mm256_round_ps(h.low, Mode), _mm256_round_ps(h.high, Mode)};
  return bits_as<__m512>(rounded);
}

inline __m512i emulated_cvttps_epi32(__m512 v) {
  const Halves h = halves_of(v);
  const __m256i both[2] = {_mm256_cvttps_epi32(h.low), _mm256_cvttps_epi32(h.high)};
  return bits_as<__m512i>(both);
}

inline __m512 emulated_cvtepi32_ps(__m512i v) {
  const auto lanes = bits_as<Lanes<std::int32_t, 16>>(v);
  Lanes<float, 16> result;
  for (int i = 0; i < 16; ++i) result.lane[i] = static_cast<float>(lanes.lane[i]);
  return bits_as<__m512>(result);
}

inline __m128i emulated_cvtepi32_epi8(__m512i v) {
  const auto lanes = bits_as<Lanes<std::uint32_t, 16>>(v);
  Lanes<std::uint8_t, 16> result;
  for (int i = 0; i < 16; ++i) result.lane[i] = static_cast<std::uint8_t>(lanes.lane[i]);
  return bits_as<__m128i>(result);
}

inline __m512i emulated_cvtepi8_epi32(__m128i v) {
  const auto lanes = bits_as<Lanes<std::int8_t, 16>>(v);
  Lanes<std::int32_t, 16> result;
  for (int i = 0; i < 16; ++i) result.lane[i] = lanes.lane[i];
  return bits_as<__m512i>(result);
}

inline __m512d emulated_cvtps_pd(__m256 v) {
  const auto lanes = bits_as<Lanes<float, 8>>(v);
  Lanes<double, 8> result;
  for (int i = 0; i < 8; ++i) result.lane[i] = lanes.lane[i];
  return bits_as<__m512d>(result);
}

inline double emulated_cvtsd_f64(__m512d v) { return bits_as<Lanes<double, 8>>(v).lane[0]; }

inline __m512i emulated_srai_epi32(__m512i v, int count) {
  auto lanes = bits_as<Lanes<std::int32_t, 16>>(v);
  for (std::int32_t& lane : lanes.lane) lane >>= count;
  return bits_as<__m512i>(lanes);
}

inline __m512i emulated_cvtps_epi32(__m512 v) {
  const Halves h = halves_of(v);
  const __m256i both[2] = {_mm256_cvtps_epi32(h.low), _mm256_cvtps_epi32(h.high)};
  return bits_as<__m512i>(both);
}

// SIMDe has _mm512_madd_epi16, but its macro takes four arguments.
inline __m512i emulated_madd_epi16(__m512i a, __m512i b) {
  struct IntHalves {
    __m256i low, high;
  };
  const auto x = bits_as<IntHalves>(a), y = bits_as<IntHalves>(b);
  const IntHalves sums = {_mm256_madd_epi16(x.low, y.low), _mm256_madd_epi16(x.high, y.high)};
  return bits_as<__m512i>(sums);
}

inline __m512i emulated_cvtepu8_epi16(__m256i v) {
  const auto lanes = bits_as<Lanes<std::uint8_t, 32>>(v);
  Lanes<std::int16_t, 32> result;
  for (int i = 0; i < 32; ++i) result.lane[i] = lanes.lane[i];
  return bits_as<__m512i>(result);
}

inline __m256i emulated_cvtepi16_epi8(__m512i v) {
  const auto lanes = bits_as<Lanes<std::uint16_t, 32>>(v);
  Lanes<std::uint8_t, 32> result;
  for (int i = 0; i < 32; ++i) result.lane[i] = static_cast<std::uint8_t>(lanes.lane[i]);
  return bits_as<__m256i>(result);
}

inline __m512i emulated_cvtepu8_epi32(__m128i v) {
  const auto lanes = bits_as<Lanes<std::uint8_t, 16>>(v);
  Lanes<std::int32_t, 16> result;
  for (int i = 0; i < 16; ++i) result.lane[i] = lanes.lane[i];
  return bits_as<__m512i>(result);
}

template <class V>
V emulated_maskz_loadu_epi8(std::uint64_t mask, const void* p) {
  Lanes<std::uint8_t, sizeof(V)> v = {};
  for (std::size_t i = 0; i < sizeof(V); ++i) {
    if ((mask >> i & 1) != 0) v.lane[i] = static_cast<const std::uint8_t*>(p)[i];
  }
  return bits_as<V>(v);
}

// 128 bits each: two of a, then two of b.
template <int Which>
__m512 emulated_shuffle_f32x4(__m512 a, __m512 b) {
  struct Parts {
    __m128 part[4];
  };
  const auto x = bits_as<Parts>(a), y = bits_as<Parts>(b);
  const Parts result = {
      {x.part[Which & 3], x.part[Which >> 2 & 3], y.part[Which >> 4 & 3], y.part[Which >> 6 & 3]}};
  return bits_as<__m512>(result);
}

template <class V>
void emulated_mask_storeu_epi8(void* p, std::uint64_t mask, V v) {
  const auto lanes = bits_as<Lanes<std::uint8_t, sizeof(V)>>(v);
  for (std::size_t i = 0; i < sizeof(V); ++i) {
    if ((mask >> i & 1) != 0) static_cast<std::uint8_t*>(p)[i] = lanes.lane[i];
  }
}

// In each 32 bits: four products of an unsigned and a signed byte. No saturation.
template <class V>
V emulated_dpbusd(V acc, V u, V s) {
  auto sum = bits_as<Lanes<std::uint32_t, sizeof(V) / 4>>(acc);
  const auto a = bits_as<Lanes<std::uint8_t, sizeof(V)>>(u);
  const auto b = bits_as<Lanes<std::int8_t, sizeof(V)>>(s);
  for (std::size_t i = 0; i < sizeof(V); ++i) {
    sum.lane[i / 4] += static_cast<std::uint32_t>(a.lane[i] * b.lane[i]);
  }
  return bits_as<V>(sum);
}

}  // namespace
}  // namespace qslim

#undef _mm512_srai_epi32
#undef _mm512_cvtepi16_epi8
#undef _mm512_madd_epi16
#undef _mm512_dpbusd_epi32
#undef _mm256_dpbusd_epi32
#undef _mm512_cvtepu8_epi32
#undef _mm_maskz_loadu_epi8
#undef _mm256_maskz_loadu_epi8
#undef _mm512_maskz_loadu_epi8
#define _mm512_cvtepu8_epi32 emulated_cvtepu8_epi32
#define _mm_maskz_loadu_epi8 emulated_maskz_loadu_epi8<__m128i>
#define _mm256_maskz_loadu_epi8 emulated_maskz_loadu_epi8<__m256i>
#define _mm512_maskz_loadu_epi8 emulated_maskz_loadu_epi8<__m512i>
#define _mm512_madd_epi16 emulated_madd_epi16
#define _mm512_cvtps_epi32 emulated_cvtps_epi32
#define _mm512_cvtepu8_epi16 emulated_cvtepu8_epi16
#define _mm512_cvtepi16_epi8 emulated_cvtepi16_epi8
#define _mm512_shuffle_f32x4(a, b, which) emulated_shuffle_f32x4<(which)>(a, b)
#define _mm_mask_storeu_epi8 emulated_mask_storeu_epi8<__m128i>
#define _mm256_mask_storeu_epi8 emulated_mask_storeu_epi8<__m256i>
#define _mm512_mask_storeu_epi8 emulated_mask_storeu_epi8<__m512i>
#define _mm512_dpbusd_epi32 emulated_dpbusd<__m512i>
#define _mm256_dpbusd_epi32 emulated_dpbusd<__m256i>
#undef _mm512_roundscale_ps
#define _mm512_roundscale_ps(v, mode) emulated_roundscale_ps<(mode)>(v)
#define _mm512_maskz_loadu_ps emulated_maskz_loadu_ps
#define _mm512_mask_storeu_ps emulated_mask_storeu_ps
#define _mm512_stream_ps emulated_stream_ps
#define _mm512_cvttps_epi32 emulated_cvttps_epi32
#define _mm512_cvtepi32_ps emulated_cvtepi32_ps
#define _mm512_cvtepi32_epi8 emulated_cvtepi32_epi8
#define _mm512_cvtepi8_epi32 emulated_cvtepi8_epi32
#define _mm512_cvtps_pd emulated_cvtps_pd
#define _mm512_cvtsd_f64 emulated_cvtsd_f64
#define _mm512_srai_epi32 emulated_srai_epi32
