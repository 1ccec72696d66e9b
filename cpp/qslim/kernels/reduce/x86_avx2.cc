// SPDX-License-Identifier: Apache-2.0
//
// Reductions, 8 floats at a time. Contract: kernels.h.
#include <immintrin.h>

#include "qslim/kernels/reduce/kernels.h"

namespace qslim {
namespace {

// The first `count` lanes, 0 < count < 8.
__m256i first_lanes(std::size_t count) {
  static constexpr std::int32_t kMasks[16] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kMasks + 8 - count));
}

__m256i load_abs(const float* x) {
  return _mm256_and_si256(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(x)),
                          _mm256_set1_epi32(0x7fffffff));
}

__m256i key_of(__m256i bits) {
  return _mm256_xor_si256(bits, _mm256_and_si256(_mm256_srai_epi32(bits, 31), _mm256_set1_epi32(0x7fffffff)));
}

__m256i load_key(const float* x) { return key_of(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(x))); }

std::uint32_t horizontal_max_u32(__m256i v) {
  __m128i m = _mm_max_epu32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  m = _mm_max_epu32(m, _mm_shuffle_epi32(m, 0x4e));
  m = _mm_max_epu32(m, _mm_shuffle_epi32(m, 0xb1));
  return static_cast<std::uint32_t>(_mm_cvtsi128_si32(m));
}

std::int32_t horizontal_max_s32(__m256i v) {
  __m128i m = _mm_max_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0x4e));
  return _mm_cvtsi128_si32(_mm_max_epi32(m, _mm_shuffle_epi32(m, 0xb1)));
}

std::int32_t horizontal_min_s32(__m256i v) {
  __m128i m = _mm_min_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  m = _mm_min_epi32(m, _mm_shuffle_epi32(m, 0x4e));
  return _mm_cvtsi128_si32(_mm_min_epi32(m, _mm_shuffle_epi32(m, 0xb1)));
}

struct Itself {
  static __m256d of(__m256d v) { return v; }
};
struct Square {
  static __m256d of(__m256d v) { return _mm256_mul_pd(v, v); }
};

template <class Term>
__m256d add_low(__m256d acc, __m256 v) {
  return _mm256_add_pd(acc, Term::of(_mm256_cvtps_pd(_mm256_castps256_ps128(v))));
}

template <class Term>
__m256d add_high(__m256d acc, __m256 v) {
  return _mm256_add_pd(acc, Term::of(_mm256_cvtps_pd(_mm256_extractf128_ps(v, 1))));
}

// Lanes 0..3, 4..7, 8..11, 12..15. Lanes past the end add +0, which changes nothing: no lane is ever -0.
template <class Term>
double sum_of_block(std::size_t n, const float* x) {
  __m256d a = _mm256_setzero_pd(), b = a, c = a, d = a;
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    a = _mm256_add_pd(a, Term::of(_mm256_cvtps_pd(_mm_loadu_ps(x + i))));
    b = _mm256_add_pd(b, Term::of(_mm256_cvtps_pd(_mm_loadu_ps(x + i + 4))));
    c = _mm256_add_pd(c, Term::of(_mm256_cvtps_pd(_mm_loadu_ps(x + i + 8))));
    d = _mm256_add_pd(d, Term::of(_mm256_cvtps_pd(_mm_loadu_ps(x + i + 12))));
  }
  if (i + 8 <= n) {
    const __m256 v = _mm256_loadu_ps(x + i);
    a = add_low<Term>(a, v);
    b = add_high<Term>(b, v);
    i += 8;
    if (i < n) {
      const __m256 w = _mm256_maskload_ps(x + i, first_lanes(n - i));
      c = add_low<Term>(c, w);
      d = add_high<Term>(d, w);
    }
  } else if (i < n) {
    const __m256 v = _mm256_maskload_ps(x + i, first_lanes(n - i));
    a = add_low<Term>(a, v);
    b = add_high<Term>(b, v);
  }
  a = _mm256_add_pd(_mm256_add_pd(a, c), _mm256_add_pd(b, d));
  const __m128d e = _mm_add_pd(_mm256_castpd256_pd128(a), _mm256_extractf128_pd(a, 1));
  return _mm_cvtsd_f64(_mm_add_sd(e, _mm_unpackhi_pd(e, e)));
}

template <class Term>
void sum_rows(std::size_t rows, std::size_t inner, const float* x, double* acc) {
  for (std::size_t r = 0; r < rows; ++r, x += inner) {
    double total = 0;
    for (std::size_t begin = 0; begin < inner; begin += kSumBlock) {
      total += sum_of_block<Term>(inner - begin < kSumBlock ? inner - begin : kSumBlock, x + begin);
    }
    acc[r] += total;
  }
}

template <class Term>
void sum_elements(std::size_t n, const float* x, double* acc) {
  std::size_t i = 0;
  for (; i + 4 <= n; i += 4) {
    const __m256d v = Term::of(_mm256_cvtps_pd(_mm_loadu_ps(x + i)));
    _mm256_storeu_pd(acc + i, _mm256_add_pd(_mm256_loadu_pd(acc + i), v));
  }
  for (; i < n; ++i) {
    const double v = x[i];
    acc[i] += _mm256_cvtsd_f64(Term::of(_mm256_set1_pd(v)));
  }
}

}  // namespace

void abs_max_f32_rows_avx2(std::size_t rows, std::size_t inner, const float* x, std::uint32_t* acc) noexcept {
  for (std::size_t r = 0; r < rows; ++r, x += inner) {
    __m256i a = _mm256_setzero_si256(), b = a, c = a, d = a;
    std::size_t i = 0;
    for (; i + 32 <= inner; i += 32) {
      a = _mm256_max_epu32(a, load_abs(x + i));
      b = _mm256_max_epu32(b, load_abs(x + i + 8));
      c = _mm256_max_epu32(c, load_abs(x + i + 16));
      d = _mm256_max_epu32(d, load_abs(x + i + 24));
    }
    for (; i + 8 <= inner; i += 8) a = _mm256_max_epu32(a, load_abs(x + i));
    if (i < inner) {
      const __m256i v = _mm256_castps_si256(_mm256_maskload_ps(x + i, first_lanes(inner - i)));
      b = _mm256_max_epu32(b, _mm256_and_si256(v, _mm256_set1_epi32(0x7fffffff)));
    }
    const std::uint32_t row =
        horizontal_max_u32(_mm256_max_epu32(_mm256_max_epu32(a, b), _mm256_max_epu32(c, d)));
    acc[r] = row > acc[r] ? row : acc[r];
  }
}

void abs_max_f32_elements_avx2(std::size_t n, const float* x, std::uint32_t* acc) noexcept {
  std::size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    __m256i* slot = reinterpret_cast<__m256i*>(acc + i);
    _mm256_storeu_si256(slot, _mm256_max_epu32(_mm256_loadu_si256(slot), load_abs(x + i)));
  }
  if (i < n) {
    const __m256i mask = first_lanes(n - i);
    const __m256i v =
        _mm256_and_si256(_mm256_castps_si256(_mm256_maskload_ps(x + i, mask)), _mm256_set1_epi32(0x7fffffff));
    int* slot = reinterpret_cast<int*>(acc + i);
    _mm256_maskstore_epi32(slot, mask, _mm256_max_epu32(_mm256_maskload_epi32(slot, mask), v));
  }
}

void min_max_f32_rows_avx2(std::size_t rows, std::size_t inner, const float* x, std::int32_t* min_acc,
                           std::int32_t* max_acc) noexcept {
  for (std::size_t r = 0; r < rows; ++r, x += inner) {
    __m256i min0 = _mm256_set1_epi32(INT32_MAX), min1 = min0, max0 = _mm256_set1_epi32(INT32_MIN),
            max1 = max0;
    std::size_t i = 0;
    for (; i + 16 <= inner; i += 16) {
      const __m256i k0 = load_key(x + i), k1 = load_key(x + i + 8);
      min0 = _mm256_min_epi32(min0, k0);
      max0 = _mm256_max_epi32(max0, k0);
      min1 = _mm256_min_epi32(min1, k1);
      max1 = _mm256_max_epi32(max1, k1);
    }
    for (; i + 8 <= inner; i += 8) {
      const __m256i k = load_key(x + i);
      min0 = _mm256_min_epi32(min0, k);
      max0 = _mm256_max_epi32(max0, k);
    }
    if (i < inner) {
      const __m256i mask = first_lanes(inner - i);
      const __m256i k = key_of(_mm256_castps_si256(_mm256_maskload_ps(x + i, mask)));
      min1 = _mm256_min_epi32(min1, _mm256_blendv_epi8(min1, k, mask));
      max1 = _mm256_max_epi32(max1, _mm256_blendv_epi8(max1, k, mask));
    }
    const std::int32_t least = horizontal_min_s32(_mm256_min_epi32(min0, min1));
    const std::int32_t largest = horizontal_max_s32(_mm256_max_epi32(max0, max1));
    min_acc[r] = least < min_acc[r] ? least : min_acc[r];
    max_acc[r] = largest > max_acc[r] ? largest : max_acc[r];
  }
}

void min_max_f32_elements_avx2(std::size_t n, const float* x, std::int32_t* min_acc,
                               std::int32_t* max_acc) noexcept {
  std::size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    __m256i* min_slot = reinterpret_cast<__m256i*>(min_acc + i);
    __m256i* max_slot = reinterpret_cast<__m256i*>(max_acc + i);
    const __m256i k = load_key(x + i);
    _mm256_storeu_si256(min_slot, _mm256_min_epi32(_mm256_loadu_si256(min_slot), k));
    _mm256_storeu_si256(max_slot, _mm256_max_epi32(_mm256_loadu_si256(max_slot), k));
  }
  if (i < n) {
    const __m256i mask = first_lanes(n - i);
    const __m256i k = key_of(_mm256_castps_si256(_mm256_maskload_ps(x + i, mask)));
    _mm256_maskstore_epi32(min_acc + i, mask, _mm256_min_epi32(_mm256_maskload_epi32(min_acc + i, mask), k));
    _mm256_maskstore_epi32(max_acc + i, mask, _mm256_max_epi32(_mm256_maskload_epi32(max_acc + i, mask), k));
  }
}

void sum_f32_rows_avx2(std::size_t rows, std::size_t inner, const float* x, double* acc) noexcept {
  sum_rows<Itself>(rows, inner, x, acc);
}

void sum_f32_elements_avx2(std::size_t n, const float* x, double* acc) noexcept {
  sum_elements<Itself>(n, x, acc);
}

void sum_of_squares_f32_rows_avx2(std::size_t rows, std::size_t inner, const float* x, double* acc) noexcept {
  sum_rows<Square>(rows, inner, x, acc);
}

void sum_of_squares_f32_elements_avx2(std::size_t n, const float* x, double* acc) noexcept {
  sum_elements<Square>(n, x, acc);
}

}  // namespace qslim
