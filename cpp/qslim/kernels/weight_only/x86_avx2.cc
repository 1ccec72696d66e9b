// SPDX-License-Identifier: Apache-2.0
//
// Products with integer weights for AVX2. Contract: kernels.h.
#include <immintrin.h>

#include "qslim/formulas/inline.h"
#include "qslim/kernels/weight_only/kernels.h"

namespace qslim {
namespace {

struct Ops {
  using Vector = __m256;
  static constexpr std::size_t kLanes = 8;
  QSLIM_INLINE static Vector zero() noexcept { return _mm256_setzero_ps(); }
  QSLIM_INLINE static Vector load(const float* p) noexcept { return _mm256_loadu_ps(p); }
  QSLIM_INLINE static void store(float* p, Vector v) noexcept { _mm256_storeu_ps(p, v); }
  QSLIM_INLINE static Vector broadcast(const float* p) noexcept { return _mm256_broadcast_ss(p); }
  QSLIM_INLINE static Vector multiply(Vector a, Vector b) noexcept { return _mm256_mul_ps(a, b); }
  QSLIM_INLINE static Vector multiply_add(Vector a, Vector b, Vector acc) noexcept {
    return _mm256_fmadd_ps(a, b, acc);
  }
};

QSLIM_INLINE __m256 to_floats(__m128i eight_bytes) noexcept {
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(eight_bytes));
}

struct Bytes {
  static constexpr std::size_t kSteps = 1;
  QSLIM_INLINE static void load(const std::uint8_t* from, __m256 (&w)[kSteps][2]) noexcept {
    w[0][0] = to_floats(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from)));
    w[0][1] = to_floats(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from + 8)));
  }
};

struct Nibbles {
  static constexpr std::size_t kSteps = 2;
  QSLIM_INLINE static void load(const std::uint8_t* from, __m256 (&w)[kSteps][2]) noexcept {
    const __m128i both = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
    const __m128i mask = _mm_set1_epi8(15), eight = _mm_set1_epi8(8);
    const __m128i low = _mm_sub_epi8(_mm_and_si128(both, mask), eight);
    const __m128i high = _mm_sub_epi8(_mm_and_si128(_mm_srli_epi16(both, 4), mask), eight);
    w[0][0] = to_floats(low), w[0][1] = to_floats(_mm_srli_si128(low, 8));
    w[1][0] = to_floats(high), w[1][1] = to_floats(_mm_srli_si128(high, 8));
  }
};

}  // namespace
}  // namespace qslim

#define QSLIM_SUFFIX avx2
#include "qslim/kernels/weight_only/panels.inc"
