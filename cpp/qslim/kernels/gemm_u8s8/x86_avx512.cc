// SPDX-License-Identifier: Apache-2.0
//
// Int8 matrix products on AVX-512 without VNNI: pairs of int16 by vpmaddwd, exact. Contract: kernels.h.
#include "qslim/kernels/x86_avx512.h"
#include "qslim/kernels/conv_blocks/epilogue_avx512.h"
#include "qslim/kernels/conv_blocks/gather.h"
#include "qslim/kernels/conv_blocks/operands_avx512.h"
#include "qslim/kernels/conv_blocks/tile.h"
#include "qslim/kernels/gemm_u8s8/kernels.h"

namespace qslim {
namespace {

struct Avx512Ops : Avx512Operands<IntegerLanes> {
  QSLIM_INLINE static void multiply_add(Vector& acc, Operand a, Operand b) {
#if QSLIM_EMULATE_AVX512
    acc = _mm512_add_epi32(acc, _mm512_madd_epi16(a, b));
#else
    __m512i products;
    asm volatile("vpmaddwd %[b], %[a], %[products]\n\tvpaddd %[products], %[acc], %[acc]"
                 : [acc] "+v"(acc), [products] "=&v"(products)
                 : [a] "v"(a), [b] "v"(b));
#endif
  }
  static Vector start(const std::int32_t* start, int j) {
    return load(reinterpret_cast<const unsigned char*>(start) + j * static_cast<int>(kVectorBytes));
  }
};

struct CopyU8S16 {
  using X = std::uint8_t;
  using A = std::int16_t;
  static void copy(const X* x, std::size_t n, int zero, A* a) {
    const __m512i z = _mm512_set1_epi16(static_cast<short>(zero));
    for (std::size_t i = 0; i < n; i += 32) {
      const __m512i wide = _mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(x + i)));
      _mm512_storeu_si512(a + i, _mm512_sub_epi16(wide, z));
    }
  }
  static void fill(std::size_t n, int, A* a) {
    for (std::size_t i = 0; i < n; i += 32) _mm512_storeu_si512(a + i, _mm512_setzero_si512());
  }
};

}  // namespace

void gather_u8_avx512(const PatchBlock& patches) noexcept { gather_patches<CopyU8S16>(patches); }

void gemm_u8s8_requantize_avx512(const GemmBlock& block, const Requantization& p) noexcept {
  with_requantize_rows(p, [&](const auto& epilogue) { multiply_block<Avx512Ops>(block, epilogue); });
}

void gemm_u8s8_real_avx512(const GemmBlock& block) noexcept { multiply_block<Avx512Ops>(block, RealRows{}); }

}  // namespace qslim
