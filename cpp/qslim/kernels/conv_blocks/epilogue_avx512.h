// SPDX-License-Identifier: Apache-2.0
//
// Epilogues of the AVX-512 kernels: from finished int32 sums, 16 to 64 columns of a few rows, to results.
// Columns come in the order of column_at(), packed. Included by AVX-512 files only; all names are internal to
// them.
//
// Values fit int32 with room for a zero point (gemm_block.h), and every narrowing to words saturates.
#pragma once

#include "qslim/kernels/conv_blocks/gemm_block.h"
#include "qslim/kernels/x86_avx512.h"

namespace qslim {
namespace {

// The first `count` of the lanes, count > 0.
inline std::uint64_t first_lanes(std::size_t count) { return ~std::uint64_t{0} >> (64 - count); }

inline void store_first_floats(unsigned char* y, __m512 v, std::size_t count) {
  auto* to = reinterpret_cast<float*>(y);
  count >= 16 ? _mm512_storeu_ps(to, v)
              : _mm512_mask_storeu_ps(to, static_cast<__mmask16>(first_lanes(count)), v);
}

// Real values of 16 columns' sums.
__attribute__((always_inline)) inline __m512 rescale(__m512i acc, const float* multiplier,
                                                     const float* bias) {
  return _mm512_add_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(acc), _mm512_load_ps(multiplier)),
                       _mm512_load_ps(bias));
}

struct RequantizeRows {
  static constexpr std::size_t kOutputBytes = 1;
  __m512 inverse_scale;
  __m512i zero_point, lo_bytes, hi_bytes, lo_words, hi_words, lo, hi;
  std::int32_t zero_point32;

  explicit RequantizeRows(const Requantization& p)
      : inverse_scale(_mm512_set1_ps(p.inverse_scale)),
        zero_point(_mm512_set1_epi16(static_cast<short>(p.zero_point))),
        lo_bytes(_mm512_set1_epi8(static_cast<char>(p.lo))),
        hi_bytes(_mm512_set1_epi8(static_cast<char>(p.hi))),
        lo_words(_mm512_set1_epi16(static_cast<short>(p.lo))),
        hi_words(_mm512_set1_epi16(static_cast<short>(p.hi))),
        lo(_mm512_set1_epi32(p.lo)),
        hi(_mm512_set1_epi32(p.hi)),
        zero_point32(p.zero_point) {}

  __attribute__((always_inline)) __m512i round(__m512i acc, const float* multiplier,
                                               const float* bias) const {
    return _mm512_cvtps_epi32(_mm512_mul_ps(rescale(acc, multiplier, bias), inverse_scale));
  }

  template <int MR, int NV>
  __attribute__((always_inline)) void store(const __m512i (&acc)[MR][NV], std::size_t columns,
                                            const float* multiplier, const float* bias,
                                            unsigned char* const* y) const {
    const auto round_part = [&](__m512i sums, int j) __attribute__((always_inline)) {
      return round(sums, multiplier + 16 * j, bias + 16 * j);
    };
    _Pragma("GCC unroll 16") for (int i = 0; i < MR; ++i) {
      if constexpr (NV == 4) {
        const __m512i low = _mm512_adds_epi16(
            _mm512_packs_epi32(round_part(acc[i][0], 0), round_part(acc[i][1], 1)), zero_point);
        const __m512i high = _mm512_adds_epi16(
            _mm512_packs_epi32(round_part(acc[i][NV - 2], 2), round_part(acc[i][NV - 1], 3)), zero_point);
        const __m512i bytes =
            _mm512_min_epu8(_mm512_max_epu8(_mm512_packus_epi16(low, high), lo_bytes), hi_bytes);
        columns == 64 ? _mm512_storeu_si512(y[i], bytes)
                      : _mm512_mask_storeu_epi8(y[i], first_lanes(columns), bytes);
      } else if constexpr (NV == 2) {
        const __m512i words = _mm512_adds_epi16(
            _mm512_packs_epi32(round_part(acc[i][0], 0), round_part(acc[i][1], 1)), zero_point);
        const __m256i bytes =
            _mm512_cvtepi16_epi8(_mm512_min_epi16(_mm512_max_epi16(words, lo_words), hi_words));
        columns == 32 ? _mm256_storeu_si256(reinterpret_cast<__m256i*>(y[i]), bytes)
                      : _mm256_mask_storeu_epi8(y[i], static_cast<__mmask32>(first_lanes(columns)), bytes);
      } else {
        const __m512i offset = _mm512_set1_epi32(zero_point32);
        _Pragma("GCC unroll 16") for (int j = 0; j < NV; ++j) {
          const __m512i q = _mm512_add_epi32(round_part(acc[i][j], j), offset);
          const __m128i bytes = _mm512_cvtepi32_epi8(_mm512_min_epi32(_mm512_max_epi32(q, lo), hi));
          const std::size_t left = columns - static_cast<std::size_t>(16 * j);
          left >= 16 ? _mm_storeu_si128(reinterpret_cast<__m128i*>(y[i] + 16 * j), bytes)
                     : _mm_mask_storeu_epi8(y[i] + 16 * j, static_cast<__mmask16>(first_lanes(left)), bytes);
        }
      }
    }
  }
};

struct RealRows {
  static constexpr std::size_t kOutputBytes = 4;

  template <int MR, int NV>
  __attribute__((always_inline)) void store(const __m512i (&acc)[MR][NV], std::size_t columns,
                                            const float* multiplier, const float* bias,
                                            unsigned char* const* y) const {
    _Pragma("GCC unroll 16") for (int i = 0; i < MR; ++i) {
      __m512 v[NV];
      _Pragma("GCC unroll 16") for (int j = 0; j < NV; ++j) {
        v[j] = rescale(acc[i][j], multiplier + 16 * j, bias + 16 * j);
      }
      if constexpr (NV == 4) {
        // A transposition of 4 x 4 parts of 128 bits.
        const __m512 a = _mm512_shuffle_f32x4(v[0], v[1], 0x44);
        const __m512 b = _mm512_shuffle_f32x4(v[NV - 2], v[NV - 1], 0x44);
        const __m512 c = _mm512_shuffle_f32x4(v[0], v[1], 0xee);
        const __m512 d = _mm512_shuffle_f32x4(v[NV - 2], v[NV - 1], 0xee);
        v[0] = _mm512_shuffle_f32x4(a, b, 0x88);
        v[1] = _mm512_shuffle_f32x4(a, b, 0xdd);
        v[NV - 2] = _mm512_shuffle_f32x4(c, d, 0x88);
        v[NV - 1] = _mm512_shuffle_f32x4(c, d, 0xdd);
      } else if constexpr (NV == 2) {
        const __m512 a = _mm512_shuffle_f32x4(v[0], v[1], 0x44);
        const __m512 b = _mm512_shuffle_f32x4(v[0], v[1], 0xee);
        v[0] = _mm512_shuffle_f32x4(a, a, 0xd8);
        v[1] = _mm512_shuffle_f32x4(b, b, 0xd8);
      }
      _Pragma("GCC unroll 16") for (int j = 0; j < NV; ++j) {
        const auto first = static_cast<std::size_t>(16 * j);
        if (columns > first) store_first_floats(y[i] + 64 * j, v[j], columns - first);
      }
    }
  }
};

}  // namespace
}  // namespace qslim
