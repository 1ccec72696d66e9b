// SPDX-License-Identifier: Apache-2.0
//
// Int8 matrix products on AVX2: pairs of int16 by vpmaddwd, which is exact where vpmaddubsw saturates
// (255 * 127 * 2 > 32767). Contract: kernels.h.
#include <immintrin.h>

#include "qslim/kernels/gemm/epilogue_avx2.h"
#include "qslim/kernels/gemm/gather.h"
#include "qslim/kernels/gemm/tile.h"
#include "qslim/kernels/gemm_u8s8/kernels.h"

namespace qslim {
namespace {

struct Avx2Ops {
  using Vector = __m256i;
  using Operand = __m256i;
  static constexpr std::size_t kVectorBytes = 32, kMaxVectors = 2;
  // Measured 7 % slower with prefetching: these steps have no issue slot to spare. Low confidence.
  static constexpr bool kFetchesAhead = false;
  // 6 x 2 accumulators, 2 of B, 1 of A, 1 product: all 16 registers.
  static constexpr int rows_for(int vectors) { return vectors == 2 ? 6 : 12; }

  // Volatile assembly keeps its order. Left to itself, GCC 12 loads early and reorders the additions of two
  // steps, and spills the sums inside the loop: half the speed.
  QSLIM_INLINE static Operand load(const unsigned char* b) {
    Operand v;
    asm volatile("vmovdqa %[b], %[v]" : [v] "=x"(v) : [b] "m"(*reinterpret_cast<const __m256i*>(b)));
    return v;
  }
  QSLIM_INLINE static Operand broadcast(const unsigned char* a) {
    Operand v;
    asm volatile("vpbroadcastd %[a], %[v]" : [v] "=x"(v) : [a] "m"(*reinterpret_cast<const Group*>(a)));
    return v;
  }
  QSLIM_INLINE static void multiply_add(Vector& acc, Operand a, Operand b) {
    __m256i products;
    asm volatile("vpmaddwd %[b], %[a], %[products]\n\tvpaddd %[products], %[acc], %[acc]"
                 : [acc] "+x"(acc), [products] "=&x"(products)
                 : [a] "x"(a), [b] "x"(b));
  }
  static Vector start(const std::int32_t* start, int j) {
    return load(reinterpret_cast<const unsigned char*>(start) + j * static_cast<int>(kVectorBytes));
  }
};

struct CopyU8S16 {
  using X = std::uint8_t;
  using A = std::int16_t;
  static void copy(const X* x, std::size_t n, int zero, A* a) {
    const __m256i z = _mm256_set1_epi16(static_cast<short>(zero));
    for (std::size_t i = 0; i < n; i += 16) {
      const __m256i wide = _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(x + i)));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(a + i), _mm256_sub_epi16(wide, z));
    }
  }
  static void fill(std::size_t n, int, A* a) {
    for (std::size_t i = 0; i < n; i += 16) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(a + i), _mm256_setzero_si256());
    }
  }
};

}  // namespace

void gather_u8_avx2(const PatchBlock& patches) noexcept { gather_patches<CopyU8S16>(patches); }

void gemm_u8s8_requantize_avx2(const GemmBlock& block, const Requantization& p) noexcept {
  multiply_block<Avx2Ops>(block, RequantizeRows(p));
}

void gemm_u8s8_real_avx2(const GemmBlock& block) noexcept { multiply_block<Avx2Ops>(block, RealRows{}); }

}  // namespace qslim
