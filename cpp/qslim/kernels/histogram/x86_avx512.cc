// SPDX-License-Identifier: Apache-2.0
//
// Histograms: bin numbers 16 at a time, then one increment each. Contract: kernels.h.
//
// Conflict detection with gather and scatter is slower than plain increments on every core it was tried on.
#include "qslim/kernels/x86_avx512.h"
#include "qslim/kernels/histogram/kernels.h"

namespace qslim {
namespace {

constexpr std::size_t kChunk = 512;

void count_words(std::size_t n, const std::uint32_t* bins, std::uint32_t* even, std::uint32_t* odd) {
  for (std::size_t i = 0; i < n; i += 4) {
    std::uint64_t a, b;
    __builtin_memcpy(&a, bins + i, 8);
    __builtin_memcpy(&b, bins + i + 2, 8);
    ++even[a & 0xffffffffu];
    ++odd[a >> 32];
    ++even[b & 0xffffffffu];
    ++odd[b >> 32];
  }
}

__m512i linear_bins(__m512 x, const LinearBins& b) {
  const __m512i last = _mm512_set1_epi32(static_cast<int>(b.bins - 1));
  const __m512 position =
      _mm512_mul_ps(_mm512_sub_ps(x, _mm512_set1_ps(b.lo)), _mm512_set1_ps(b.bins_per_unit));
  const __mmask16 inside = static_cast<__mmask16>(_mm512_cmp_ps_mask(x, _mm512_set1_ps(b.lo), _CMP_GE_OQ) &
                                                  _mm512_cmp_ps_mask(x, _mm512_set1_ps(b.hi), _CMP_LE_OQ));
  // Outside and NaN become position 0 here and leave at the end.
  const __m512 kept = _mm512_maskz_mov_ps(inside, position);
  __m512i bin = _mm512_min_epi32(_mm512_cvttps_epi32(kept), last);
  const __m512 past = _mm512_sub_ps(kept, _mm512_cvtepi32_ps(bin));
  const __mmask16 sure =
      static_cast<__mmask16>(_mm512_cmp_ps_mask(past, _mm512_set1_ps(b.doubt), _CMP_GT_OQ) &
                             _mm512_cmp_ps_mask(past, _mm512_set1_ps(1.0f - b.doubt), _CMP_LT_OQ));
  if ((inside & ~sure) != 0) {
    alignas(64) std::int32_t bins[16];
    alignas(64) float lower[16], upper[16];
    _mm512_store_si512(bins, bin);
    for (int j = 0; j < 16; ++j) {
      lower[j] = b.edges[bins[j]];
      upper[j] = b.edges[bins[j] + 1];
    }
    const __mmask16 down = _mm512_cmp_ps_mask(x, _mm512_load_ps(lower), _CMP_LT_OQ);
    const __mmask16 up = static_cast<__mmask16>(_mm512_cmp_ps_mask(x, _mm512_load_ps(upper), _CMP_GE_OQ) &
                                                ~_mm512_cmpeq_epi32_mask(bin, last));
    const __m512i one = _mm512_set1_epi32(1);
    bin = _mm512_mask_sub_epi32(bin, down, bin, one);
    bin = _mm512_mask_add_epi32(bin, up, bin, one);
  }
  return _mm512_mask_mov_epi32(_mm512_set1_epi32(static_cast<int>(b.bins)), inside, bin);
}

__m512i signed_bins(__m512 x, __m512 bins_per_unit, __m512i bins, __m512i zero_slots) {
  const __m512i bits = _mm512_castps_si512(x);
  const __m512 magnitude = _mm512_castsi512_ps(_mm512_and_si512(bits, _mm512_set1_epi32(0x7fffffff)));
  const __m512i last = _mm512_sub_epi32(bins, _mm512_set1_epi32(1));
  // A position past 2^31 converts to 0x80000000, which is large as an unsigned number.
  const __m512i bin = _mm512_min_epu32(_mm512_cvttps_epi32(_mm512_mul_ps(magnitude, bins_per_unit)), last);
  const __m512i sided = _mm512_or_si512(bin, _mm512_and_si512(_mm512_srai_epi32(bits, 31), bins));
  return _mm512_mask_mov_epi32(sided, _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_EQ_OQ), zero_slots);
}

}  // namespace

void histogram_linear_f32_avx512(std::size_t n, const float* x, const LinearBins& b,
                                 std::uint32_t* counts) noexcept {
  if (b.doubt >= 0.25f) return histogram_linear_f32_scalar(n, x, b, counts);
  alignas(64) std::uint32_t bins[kChunk];
  std::size_t i = 0;
  while (i + 16 <= n) {
    std::size_t filled = 0;
    for (; filled < kChunk && i + 16 <= n; filled += 16, i += 16) {
      _mm512_store_si512(bins + filled, linear_bins(_mm512_loadu_ps(x + i), b));
    }
    count_words(filled, bins, counts, counts + b.bins + 1);
  }
  histogram_linear_f32_scalar(n - i, x + i, b, counts);
}

void histogram_signed_f32_avx512(std::size_t n, const float* x, float bins_per_unit, std::uint32_t bins,
                                 std::uint32_t* counts) noexcept {
  const __m512 scale = _mm512_set1_ps(bins_per_unit);
  const __m512i side = _mm512_set1_epi32(static_cast<int>(bins));
  const __m512i slots =
      _mm512_add_epi32(_mm512_set1_epi32(static_cast<int>(2 * bins)),
                       _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
  alignas(64) std::uint32_t words[kChunk];
  std::size_t i = 0;
  while (i + 16 <= n) {
    std::size_t filled = 0;
    for (; filled < kChunk && i + 16 <= n; filled += 16, i += 16) {
      _mm512_store_si512(words + filled, signed_bins(_mm512_loadu_ps(x + i), scale, side, slots));
    }
    count_words(filled, words, counts, counts + 2 * bins + kZeroSlots);
  }
  histogram_signed_f32_scalar(n - i, x + i, bins_per_unit, bins, counts);
}

}  // namespace qslim
