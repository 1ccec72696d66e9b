// SPDX-License-Identifier: Apache-2.0
//
// Int8 matrix products on AVX2, of int16 pairs. Contract: kernels.h.
#include <immintrin.h>

#include "qslim/kernels/conv_blocks/epilogue_avx2.h"
#include "qslim/kernels/conv_blocks/gather.h"
#include "qslim/kernels/conv_blocks/operands_avx2.h"
#include "qslim/kernels/conv_blocks/tile.h"
#include "qslim/kernels/gemm_u8s8/kernels.h"

namespace qslim {
namespace {

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
  multiply_block<Int16PairOps>(block, RequantizeRows(p));
}

void gemm_u8s8_real_avx2(const GemmBlock& block) noexcept { multiply_block<Int16PairOps>(block, RealRows{}); }

}  // namespace qslim
