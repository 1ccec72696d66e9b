// SPDX-License-Identifier: Apache-2.0
//
// Histograms: bin numbers 8 at a time, then one increment each. Contract: kernels.h.
//
// Bin numbers wait in a small buffer: reading them back as 64-bit words and shifting is quicker than
// extracting lanes. Measured on Zen 3: 1.5 to 1.9 G elements/s, for normal, half-zero and narrow data alike;
// 16-bit tables, four tables and one table lose on at least one of them.
#include <immintrin.h>

#include "qslim/kernels/histogram/kernels.h"

namespace qslim {
namespace {

constexpr std::size_t kChunk = 512;

void count_words(std::size_t n, const std::uint32_t* bins, std::uint32_t* even, std::uint32_t* odd) {
  std::size_t i = 0;
  for (; i + 4 <= n; i += 4) {
    std::uint64_t a, b;
    __builtin_memcpy(&a, bins + i, 8);
    __builtin_memcpy(&b, bins + i + 2, 8);
    ++even[a & 0xffffffffu];
    ++odd[a >> 32];
    ++even[b & 0xffffffffu];
    ++odd[b >> 32];
  }
  for (; i < n; ++i) ++even[bins[i]];
}

void count_halfwords(std::size_t n, const std::uint16_t* bins, std::uint32_t* even, std::uint32_t* odd) {
  std::size_t i = 0;
  for (; i + 4 <= n; i += 4) {
    std::uint64_t a;
    __builtin_memcpy(&a, bins + i, 8);
    ++even[a & 0xffffu];
    ++odd[(a >> 16) & 0xffffu];
    ++even[(a >> 32) & 0xffffu];
    ++odd[a >> 48];
  }
  for (; i < n; ++i) ++even[bins[i]];
}

__m256i linear_bins(__m256 x, const LinearBins& b) {
  const __m256i last = _mm256_set1_epi32(static_cast<int>(b.bins - 1));
  const __m256 position =
      _mm256_mul_ps(_mm256_sub_ps(x, _mm256_set1_ps(b.lo)), _mm256_set1_ps(b.bins_per_unit));
  const __m256 inside = _mm256_and_ps(_mm256_cmp_ps(x, _mm256_set1_ps(b.lo), _CMP_GE_OQ),
                                      _mm256_cmp_ps(x, _mm256_set1_ps(b.hi), _CMP_LE_OQ));
  // Outside and NaN become position 0 here and leave at the end.
  const __m256 kept = _mm256_and_ps(position, inside);
  __m256i bin = _mm256_min_epi32(_mm256_cvttps_epi32(kept), last);
  const __m256 past = _mm256_sub_ps(kept, _mm256_cvtepi32_ps(bin));
  const __m256 sure = _mm256_and_ps(_mm256_cmp_ps(past, _mm256_set1_ps(b.doubt), _CMP_GT_OQ),
                                    _mm256_cmp_ps(past, _mm256_set1_ps(1.0f - b.doubt), _CMP_LT_OQ));
  if (_mm256_movemask_ps(_mm256_andnot_ps(sure, inside)) != 0) {
    const __m256 lower = _mm256_i32gather_ps(b.edges, bin, 4);
    const __m256 upper = _mm256_i32gather_ps(b.edges + 1, bin, 4);
    const __m256i down = _mm256_castps_si256(_mm256_cmp_ps(x, lower, _CMP_LT_OQ));
    const __m256i up = _mm256_andnot_si256(_mm256_cmpeq_epi32(bin, last),
                                           _mm256_castps_si256(_mm256_cmp_ps(x, upper, _CMP_GE_OQ)));
    bin = _mm256_sub_epi32(_mm256_add_epi32(bin, down), up);
  }
  const __m256i outside = _mm256_set1_epi32(static_cast<int>(b.bins));
  return _mm256_blendv_epi8(outside, bin, _mm256_castps_si256(inside));
}

__m256i signed_bins(__m256 x, __m256 bins_per_unit, __m256i bins, __m256i zero_slots) {
  const __m256i bits = _mm256_castps_si256(x);
  const __m256 magnitude = _mm256_castsi256_ps(_mm256_and_si256(bits, _mm256_set1_epi32(0x7fffffff)));
  const __m256i last = _mm256_sub_epi32(bins, _mm256_set1_epi32(1));
  // A position past 2^31 converts to 0x80000000, which is large as an unsigned number.
  const __m256i bin = _mm256_min_epu32(_mm256_cvttps_epi32(_mm256_mul_ps(magnitude, bins_per_unit)), last);
  const __m256i sided = _mm256_or_si256(bin, _mm256_and_si256(_mm256_srai_epi32(bits, 31), bins));
  const __m256 zero = _mm256_cmp_ps(x, _mm256_setzero_ps(), _CMP_EQ_OQ);
  return _mm256_blendv_epi8(sided, zero_slots, _mm256_castps_si256(zero));
}

}  // namespace

void histogram_linear_f32_avx2(std::size_t n, const float* x, const LinearBins& b,
                               std::uint32_t* counts) noexcept {
  if (b.doubt >= 0.25f) return histogram_linear_f32_scalar(n, x, b, counts);
  alignas(32) std::uint32_t bins[kChunk];
  std::size_t i = 0;
  while (i + 8 <= n) {
    std::size_t filled = 0;
    for (; filled < kChunk && i + 8 <= n; filled += 8, i += 8) {
      _mm256_store_si256(reinterpret_cast<__m256i*>(bins + filled), linear_bins(_mm256_loadu_ps(x + i), b));
    }
    count_words(filled, bins, counts, counts + b.bins + 1);
  }
  histogram_linear_f32_scalar(n - i, x + i, b, counts);
}

void histogram_signed_f32_avx2(std::size_t n, const float* x, float bins_per_unit, std::uint32_t bins,
                               std::uint32_t* counts) noexcept {
  const __m256 scale = _mm256_set1_ps(bins_per_unit);
  const __m256i side = _mm256_set1_epi32(static_cast<int>(bins));
  const __m256i slots0 = _mm256_add_epi32(_mm256_set1_epi32(static_cast<int>(2 * bins)),
                                          _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  const __m256i slots1 = _mm256_add_epi32(slots0, _mm256_set1_epi32(8));
  alignas(32) std::uint16_t halfwords[kChunk];
  std::size_t i = 0;
  while (i + 16 <= n) {
    std::size_t filled = 0;
    for (; filled < kChunk && i + 16 <= n; filled += 16, i += 16) {
      const __m256i a = signed_bins(_mm256_loadu_ps(x + i), scale, side, slots0);
      const __m256i b = signed_bins(_mm256_loadu_ps(x + i + 8), scale, side, slots1);
      // Packing mixes the lanes' order, which counting does not mind.
      _mm256_store_si256(reinterpret_cast<__m256i*>(halfwords + filled), _mm256_packus_epi32(a, b));
    }
    count_halfwords(filled, halfwords, counts, counts + 2 * bins + kZeroSlots);
  }
  histogram_signed_f32_scalar(n - i, x + i, bins_per_unit, bins, counts);
}

}  // namespace qslim
