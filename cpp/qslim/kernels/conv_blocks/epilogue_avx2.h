// SPDX-License-Identifier: Apache-2.0
//
// Epilogues of the AVX2 kernels: from finished int32 sums, 8 or 16 columns of a few rows, to results. Columns
// come in the packed order of column_at(). Included by x86_avx2.cc and x86_avxvnni.cc files
// only; all names are internal to them.
//
// Values fit int32 (gemm_block.h), and every narrowing from there on saturates.
#pragma once

#include <immintrin.h>

#include "qslim/kernels/conv_blocks/gemm_block.h"

namespace qslim {
namespace {

// The first `bytes` of v, 0 < bytes <= 16.
inline void store_first_bytes(unsigned char* y, __m128i v, std::size_t bytes) {
  if (bytes == 16) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(y), v);
    return;
  }
  if ((bytes & 8) != 0) {
    _mm_storel_epi64(reinterpret_cast<__m128i*>(y), v);
    v = _mm_unpackhi_epi64(v, v);
    y += 8;
  }
  if ((bytes & 4) != 0) {
    const int word = _mm_cvtsi128_si32(v);
    __builtin_memcpy(y, &word, 4);
    v = _mm_srli_si128(v, 4);
    y += 4;
  }
  if ((bytes & 2) != 0) {
    const auto half = static_cast<short>(_mm_cvtsi128_si32(v));
    __builtin_memcpy(y, &half, 2);
    v = _mm_srli_si128(v, 2);
    y += 2;
  }
  if ((bytes & 1) != 0) *y = static_cast<unsigned char>(_mm_cvtsi128_si32(v));
}

// 8 floats, of which the first `count` are real: 0 < count.
inline void store_first_floats(unsigned char* y, __m256 v, std::size_t count) {
  if (count >= 8) {
    _mm256_storeu_ps(reinterpret_cast<float*>(y), v);
    return;
  }
  __m128i part = _mm256_castsi256_si128(_mm256_castps_si256(v));
  if ((count & 4) != 0) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(y), part);
    part = _mm256_extracti128_si256(_mm256_castps_si256(v), 1);
    y += 16;
  }
  if ((count & 3) != 0) store_first_bytes(y, part, 4 * (count & 3));
}

// Real values of 8 columns' sums.
struct Rescale {
  __m256 multiplier, bias;

  __attribute__((always_inline)) Rescale(const float* m, const float* b)
      : multiplier(_mm256_load_ps(m)), bias(_mm256_load_ps(b)) {}
  __attribute__((always_inline)) __m256 operator()(__m256i acc) const {
    return _mm256_add_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(acc), multiplier), bias);
  }
};

struct RequantizeRows {
  static constexpr std::size_t kOutputBytes = 1;
  __m256 inverse_scale;
  __m256i zero_point;
  __m128i lo, hi;

  explicit RequantizeRows(const Requantization& p)
      : inverse_scale(_mm256_set1_ps(p.inverse_scale)),
        zero_point(_mm256_set1_epi16(static_cast<short>(p.zero_point))),
        lo(_mm_set1_epi8(static_cast<char>(p.lo))),
        hi(_mm_set1_epi8(static_cast<char>(p.hi))) {}

  __attribute__((always_inline)) __m256i round(__m256i acc, const Rescale& rescale) const {
    return _mm256_cvtps_epi32(_mm256_mul_ps(rescale(acc), inverse_scale));
  }
  // 16 columns of one row, in order.
  __attribute__((always_inline)) __m128i columns16(__m256i acc0, __m256i acc1, const Rescale& rescale0,
                                                   const Rescale& rescale1) const {
    const __m256i words =
        _mm256_adds_epi16(_mm256_packs_epi32(round(acc0, rescale0), round(acc1, rescale1)), zero_point);
    const __m128i bytes = _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    return _mm_min_epu8(_mm_max_epu8(bytes, lo), hi);
  }
  // 8 columns of one row, in order, in the low half.
  __attribute__((always_inline)) __m128i columns8(__m256i acc, const Rescale& rescale) const {
    const __m256i q = round(acc, rescale);
    const __m128i words =
        _mm_adds_epi16(_mm_packs_epi32(_mm256_castsi256_si128(q), _mm256_extracti128_si256(q, 1)),
                       _mm256_castsi256_si128(zero_point));
    return _mm_min_epu8(_mm_max_epu8(_mm_packus_epi16(words, words), lo), hi);
  }

  template <int MR, int NV, class Rows>
  __attribute__((always_inline)) void store(const __m256i (&acc)[MR][NV], std::size_t columns,
                                            const float* multiplier, const float* bias, const Rows& y) const {
    const Rescale rescale0(multiplier, bias);
    if constexpr (NV == 2) {
      const Rescale rescale1(multiplier + 8, bias + 8);
      __m128i bytes[MR];
      _Pragma("GCC unroll 16") for (int i = 0; i < MR; ++i) {
        bytes[i] = columns16(acc[i][0], acc[i][1], rescale0, rescale1);
      }
      if (columns == 16) {
        _Pragma("GCC unroll 16") for (int i = 0; i < MR; ++i) {
          _mm_storeu_si128(reinterpret_cast<__m128i*>(y[i]), bytes[i]);
        }
      } else {
        _Pragma("GCC unroll 16") for (int i = 0; i < MR; ++i) store_first_bytes(y[i], bytes[i], columns);
      }
    } else {
      _Pragma("GCC unroll 16") for (int i = 0; i < MR; ++i) {
        const __m128i bytes = columns8(acc[i][0], rescale0);
        if (columns == 8) {
          _mm_storel_epi64(reinterpret_cast<__m128i*>(y[i]), bytes);
        } else {
          store_first_bytes(y[i], bytes, columns);
        }
      }
    }
  }
};

struct RealRows {
  static constexpr std::size_t kOutputBytes = 4;

  template <int MR, int NV, class Rows>
  __attribute__((always_inline)) void store(const __m256i (&acc)[MR][NV], std::size_t columns,
                                            const float* multiplier, const float* bias, const Rows& y) const {
    const Rescale rescale0(multiplier, bias);
    _Pragma("GCC unroll 16") for (int i = 0; i < MR; ++i) {
      const __m256 first = rescale0(acc[i][0]);
      if constexpr (NV == 2) {
        const __m256 second = Rescale(multiplier + 8, bias + 8)(acc[i][NV - 1]);
        store_first_floats(y[i], _mm256_permute2f128_ps(first, second, 0x20), columns);
        if (columns > 8) {
          store_first_floats(y[i] + 32, _mm256_permute2f128_ps(first, second, 0x31), columns - 8);
        }
      } else {
        store_first_floats(y[i], first, columns);
      }
    }
  }
};

}  // namespace
}  // namespace qslim
