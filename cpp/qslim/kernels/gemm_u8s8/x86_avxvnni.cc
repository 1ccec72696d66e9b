// SPDX-License-Identifier: Apache-2.0
//
// Int8 matrix products on AVX-VNNI: vpdpbusd of 256 bits, for machines without AVX-512. A is the bytes
// themselves, as on AVX-512 VNNI. Contract: kernels.h.
#include "qslim/kernels/conv_blocks/epilogue_avx2.h"
#include "qslim/kernels/conv_blocks/gather.h"
#include "qslim/kernels/conv_blocks/operands_avx2.h"
#include "qslim/kernels/conv_blocks/tile.h"
#include "qslim/kernels/gemm_u8s8/kernels.h"
#if QSLIM_EMULATE_AVX512
#include "qslim/kernels/x86_avx512.h"
#endif

namespace qslim {
namespace {

struct AvxVnniOps : Avx2IntegerOperands {
  static constexpr bool kFetchesAhead = false;
  // 6 x 2 accumulators, 2 of B and 1 of A: 15 of 16 registers; 8 x 1 hide the latency of 4.
  static constexpr int rows_for(int vectors) { return vectors == 2 ? 6 : 8; }

  QSLIM_INLINE static void multiply_add(Vector& acc, Operand a, Operand b) {
#if QSLIM_EMULATE_AVX512
    acc = _mm256_dpbusd_epi32(acc, a, b);
#elif QSLIM_EVEX_AVXVNNI
    asm volatile("%{evex%} vpdpbusd %[b], %[a], %[acc]" : [acc] "+x"(acc) : [a] "x"(a), [b] "x"(b));
#else
    asm volatile("%{vex%} vpdpbusd %[b], %[a], %[acc]" : [acc] "+x"(acc) : [a] "x"(a), [b] "x"(b));
#endif
  }
};

struct CopyU8 {
  using X = std::uint8_t;
  using A = std::uint8_t;
  static void copy(const X* x, std::size_t n, int, A* a) {
    for (std::size_t i = 0; i < n; i += 32) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(a + i),
                          _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x + i)));
    }
  }
  static void fill(std::size_t n, int zero, A* a) {
    const __m256i z = _mm256_set1_epi8(static_cast<char>(zero));
    for (std::size_t i = 0; i < n; i += 32) _mm256_storeu_si256(reinterpret_cast<__m256i*>(a + i), z);
  }
};

}  // namespace

void gather_u8_avxvnni(const PatchBlock& patches) noexcept { gather_patches<CopyU8>(patches); }

void gemm_u8s8_requantize_avxvnni(const GemmBlock& block, const Requantization& p) noexcept {
  multiply_block<AvxVnniOps>(block, RequantizeRows(p));
}

void gemm_u8s8_real_avxvnni(const GemmBlock& block) noexcept {
  multiply_block<AvxVnniOps>(block, RealRows{});
}

}  // namespace qslim
