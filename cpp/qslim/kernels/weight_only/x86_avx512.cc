// SPDX-License-Identifier: Apache-2.0
//
// Products with integer weights for AVX-512. Contract: kernels.h.
#include "qslim/kernels/x86_avx512.h"
#include "qslim/formulas/inline.h"
#include "qslim/kernels/weight_only/kernels.h"

namespace qslim {
namespace {

struct Ops {
  using Vector = __m512;
  static constexpr std::size_t kLanes = 16;
  QSLIM_INLINE static Vector zero() noexcept { return _mm512_setzero_ps(); }
  QSLIM_INLINE static Vector load(const float* p) noexcept { return _mm512_loadu_ps(p); }
  QSLIM_INLINE static void store(float* p, Vector v) noexcept { _mm512_storeu_ps(p, v); }
  QSLIM_INLINE static Vector broadcast(const float* p) noexcept { return _mm512_set1_ps(*p); }
  QSLIM_INLINE static Vector multiply(Vector a, Vector b) noexcept { return _mm512_mul_ps(a, b); }
  QSLIM_INLINE static Vector multiply_add(Vector a, Vector b, Vector acc) noexcept {
    return _mm512_fmadd_ps(a, b, acc);
  }
};

QSLIM_INLINE __m128i load_bytes(const std::uint8_t* from) noexcept {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
}

struct Bytes {
  static constexpr std::size_t kSteps = 1;
  QSLIM_INLINE static void load(const std::uint8_t* from, __m512 (&w)[kSteps][1]) noexcept {
    w[0][0] = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(load_bytes(from)));
  }
};

// Half a byte looks its float up: the permutation reads the lower 4 bits of each index and no others.
struct Nibbles {
  static constexpr std::size_t kSteps = 2;
  QSLIM_INLINE static void load(const std::uint8_t* from, __m512 (&w)[kSteps][1]) noexcept {
    const __m512 floats = _mm512_setr_ps(-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7);
    const __m512i both = _mm512_cvtepi8_epi32(load_bytes(from));
    w[0][0] = _mm512_permutexvar_ps(both, floats);
    w[1][0] = _mm512_permutexvar_ps(_mm512_srli_epi32(both, 4), floats);
  }
};

}  // namespace
}  // namespace qslim

#define QSLIM_SUFFIX avx512
#include "qslim/kernels/weight_only/panels.inc"
