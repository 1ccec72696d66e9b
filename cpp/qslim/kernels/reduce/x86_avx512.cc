// SPDX-License-Identifier: Apache-2.0
//
// Reductions, 16 floats at a time; a mask takes the last ones. Contract: kernels.h.
#include "qslim/kernels/x86_avx512.h"
#include "qslim/kernels/reduce/kernels.h"

namespace qslim {
namespace {

// The first `count` lanes, 0 < count < 16.
__mmask16 first_lanes(std::size_t count) { return static_cast<__mmask16>((1u << count) - 1u); }

__m512i abs_of(__m512 v) { return _mm512_and_si512(_mm512_castps_si512(v), _mm512_set1_epi32(0x7fffffff)); }

__m512i key_of(__m512 v) {
  const __m512i bits = _mm512_castps_si512(v);
  return _mm512_xor_si512(bits, _mm512_and_si512(_mm512_srai_epi32(bits, 31), _mm512_set1_epi32(0x7fffffff)));
}

std::uint32_t horizontal_max_u32(__m512i v) {
  const __m256i h = _mm256_max_epu32(_mm512_castsi512_si256(v), _mm512_extracti64x4_epi64(v, 1));
  __m128i m = _mm_max_epu32(_mm256_castsi256_si128(h), _mm256_extracti128_si256(h, 1));
  m = _mm_max_epu32(m, _mm_shuffle_epi32(m, 0x4e));
  m = _mm_max_epu32(m, _mm_shuffle_epi32(m, 0xb1));
  return static_cast<std::uint32_t>(_mm_cvtsi128_si32(m));
}

std::int32_t horizontal_max_s32(__m512i v) {
  const __m256i h = _mm256_max_epi32(_mm512_castsi512_si256(v), _mm512_extracti64x4_epi64(v, 1));
  __m128i m = _mm_max_epi32(_mm256_castsi256_si128(h), _mm256_extracti128_si256(h, 1));
  m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0x4e));
  return _mm_cvtsi128_si32(_mm_max_epi32(m, _mm_shuffle_epi32(m, 0xb1)));
}

std::int32_t horizontal_min_s32(__m512i v) {
  const __m256i h = _mm256_min_epi32(_mm512_castsi512_si256(v), _mm512_extracti64x4_epi64(v, 1));
  __m128i m = _mm_min_epi32(_mm256_castsi256_si128(h), _mm256_extracti128_si256(h, 1));
  m = _mm_min_epi32(m, _mm_shuffle_epi32(m, 0x4e));
  return _mm_cvtsi128_si32(_mm_min_epi32(m, _mm_shuffle_epi32(m, 0xb1)));
}

struct Itself {
  static __m512d of(__m512d v) { return v; }
};
struct Square {
  static __m512d of(__m512d v) { return _mm512_mul_pd(v, v); }
};

template <class Term>
__m512d add(__m512d acc, __m256 v) {
  return _mm512_add_pd(acc, Term::of(_mm512_cvtps_pd(v)));
}

__m256 high_half(__m512 v) { return _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(v), 1)); }

// Lanes 0..7 and 8..15. Lanes past the end add +0, which changes nothing: no lane is ever -0.
template <class Term>
double sum_of_block(std::size_t n, const float* x) {
  __m512d a = _mm512_setzero_pd(), b = a;
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    a = add<Term>(a, _mm256_loadu_ps(x + i));
    b = add<Term>(b, _mm256_loadu_ps(x + i + 8));
  }
  if (i < n) {
    const __m512 v = _mm512_maskz_loadu_ps(first_lanes(n - i), x + i);
    a = add<Term>(a, _mm512_castps512_ps256(v));
    b = add<Term>(b, high_half(v));
  }
  a = _mm512_add_pd(a, b);
  const __m256d c = _mm256_add_pd(_mm512_castpd512_pd256(a), _mm512_extractf64x4_pd(a, 1));
  const __m128d e = _mm_add_pd(_mm256_castpd256_pd128(c), _mm256_extractf128_pd(c, 1));
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
  for (; i + 8 <= n; i += 8) {
    _mm512_storeu_pd(acc + i, add<Term>(_mm512_loadu_pd(acc + i), _mm256_loadu_ps(x + i)));
  }
  for (; i < n; ++i) {
    const double v = x[i];
    acc[i] += _mm512_cvtsd_f64(Term::of(_mm512_set1_pd(v)));
  }
}

}  // namespace

void abs_max_f32_rows_avx512(std::size_t rows, std::size_t inner, const float* x,
                             std::uint32_t* acc) noexcept {
  for (std::size_t r = 0; r < rows; ++r, x += inner) {
    __m512i a = _mm512_setzero_si512(), b = a, c = a, d = a;
    std::size_t i = 0;
    for (; i + 64 <= inner; i += 64) {
      a = _mm512_max_epu32(a, abs_of(_mm512_loadu_ps(x + i)));
      b = _mm512_max_epu32(b, abs_of(_mm512_loadu_ps(x + i + 16)));
      c = _mm512_max_epu32(c, abs_of(_mm512_loadu_ps(x + i + 32)));
      d = _mm512_max_epu32(d, abs_of(_mm512_loadu_ps(x + i + 48)));
    }
    for (; i + 16 <= inner; i += 16) a = _mm512_max_epu32(a, abs_of(_mm512_loadu_ps(x + i)));
    if (i < inner) b = _mm512_max_epu32(b, abs_of(_mm512_maskz_loadu_ps(first_lanes(inner - i), x + i)));
    const std::uint32_t row =
        horizontal_max_u32(_mm512_max_epu32(_mm512_max_epu32(a, b), _mm512_max_epu32(c, d)));
    acc[r] = row > acc[r] ? row : acc[r];
  }
}

void abs_max_f32_elements_avx512(std::size_t n, const float* x, std::uint32_t* acc) noexcept {
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const __m512i v = _mm512_max_epu32(_mm512_loadu_si512(acc + i), abs_of(_mm512_loadu_ps(x + i)));
    _mm512_storeu_si512(acc + i, v);
  }
  if (i < n) abs_max_f32_rows_avx512(n - i, 1, x + i, acc + i);
}

void min_max_f32_rows_avx512(std::size_t rows, std::size_t inner, const float* x, std::int32_t* min_acc,
                             std::int32_t* max_acc) noexcept {
  for (std::size_t r = 0; r < rows; ++r, x += inner) {
    __m512i min0 = _mm512_set1_epi32(INT32_MAX), min1 = min0, max0 = _mm512_set1_epi32(INT32_MIN),
            max1 = max0;
    std::size_t i = 0;
    for (; i + 32 <= inner; i += 32) {
      const __m512i k0 = key_of(_mm512_loadu_ps(x + i)), k1 = key_of(_mm512_loadu_ps(x + i + 16));
      min0 = _mm512_min_epi32(min0, k0);
      max0 = _mm512_max_epi32(max0, k0);
      min1 = _mm512_min_epi32(min1, k1);
      max1 = _mm512_max_epi32(max1, k1);
    }
    for (; i < inner; i += 16) {
      const __mmask16 mask = inner - i < 16 ? first_lanes(inner - i) : static_cast<__mmask16>(0xffff);
      const __m512i k = key_of(_mm512_maskz_loadu_ps(mask, x + i));
      min0 = _mm512_min_epi32(min0, _mm512_mask_mov_epi32(min0, mask, k));
      max0 = _mm512_max_epi32(max0, _mm512_mask_mov_epi32(max0, mask, k));
    }
    const std::int32_t least = horizontal_min_s32(_mm512_min_epi32(min0, min1));
    const std::int32_t largest = horizontal_max_s32(_mm512_max_epi32(max0, max1));
    min_acc[r] = least < min_acc[r] ? least : min_acc[r];
    max_acc[r] = largest > max_acc[r] ? largest : max_acc[r];
  }
}

void min_max_f32_elements_avx512(std::size_t n, const float* x, std::int32_t* min_acc,
                                 std::int32_t* max_acc) noexcept {
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const __m512i k = key_of(_mm512_loadu_ps(x + i));
    _mm512_storeu_si512(min_acc + i, _mm512_min_epi32(_mm512_loadu_si512(min_acc + i), k));
    _mm512_storeu_si512(max_acc + i, _mm512_max_epi32(_mm512_loadu_si512(max_acc + i), k));
  }
  if (i < n) min_max_f32_rows_avx512(n - i, 1, x + i, min_acc + i, max_acc + i);
}

void sum_f32_rows_avx512(std::size_t rows, std::size_t inner, const float* x, double* acc) noexcept {
  sum_rows<Itself>(rows, inner, x, acc);
}

void sum_f32_elements_avx512(std::size_t n, const float* x, double* acc) noexcept {
  sum_elements<Itself>(n, x, acc);
}

void sum_of_squares_f32_rows_avx512(std::size_t rows, std::size_t inner, const float* x,
                                    double* acc) noexcept {
  sum_rows<Square>(rows, inner, x, acc);
}

void sum_of_squares_f32_elements_avx512(std::size_t n, const float* x, double* acc) noexcept {
  sum_elements<Square>(n, x, acc);
}

}  // namespace qslim
