// SPDX-License-Identifier: Apache-2.0
//
// Int8 matrix products on AVX-512 VNNI: vpdpbusd sums four products of unsigned and signed bytes, exactly.
// A is the bytes themselves, so a 1x1 convolution reads x in place. Contract: kernels.h.
#include "qslim/kernels/gemm/epilogue_avx512.h"
#include "qslim/kernels/gemm/gather.h"
#include "qslim/kernels/gemm/tile.h"
#include "qslim/kernels/gemm_u8s8/kernels.h"
#include "qslim/kernels/x86_avx512.h"

namespace qslim {
namespace {

struct VnniOps {
  using Vector = __m512i;
  using Operand = __m512i;
  static constexpr std::size_t kVectorBytes = 64, kMaxVectors = 4;
  // At most 24 accumulators, 4 of B, 1 of A of 32 registers; the latency of 4 needs 4 accumulators.
  static constexpr int rows_for(int vectors) {
    return vectors == 4 ? 6 : vectors == 3 ? 8 : vectors == 2 ? 12 : 16;
  }

  static Operand load(const unsigned char* b) { return _mm512_load_si512(b); }
  static Operand broadcast(const unsigned char* a) {
    std::int32_t bytes;
    __builtin_memcpy(&bytes, a, 4);
    return _mm512_set1_epi32(bytes);
  }
  QSLIM_INLINE static void multiply_add(Vector& acc, Operand a, Operand b) {
#if QSLIM_EMULATE_AVX512
    acc = _mm512_dpbusd_epi32(acc, a, b);
#else
    // By intrinsics GCC 12 keeps two copies of each accumulator, and spills: 53 % of the speed.
    asm("vpdpbusd %[b], %[a], %[acc]" : [acc] "+v"(acc) : [a] "v"(a), [b] "v"(b));
#endif
  }
  static Vector start(const unsigned char* bias) { return load(bias); }
};

struct CopyU8 {
  using X = std::uint8_t;
  using A = std::uint8_t;
  static void copy(const X* x, std::size_t n, int, A* a) {
    for (std::size_t i = 0; i < n; i += 64) _mm512_storeu_si512(a + i, _mm512_loadu_si512(x + i));
  }
  static void fill(std::size_t n, int zero, A* a) {
    const __m512i z = _mm512_set1_epi8(static_cast<char>(zero));
    for (std::size_t i = 0; i < n; i += 64) _mm512_storeu_si512(a + i, z);
  }
};

}  // namespace

void gather_u8_avx512vnni(const PatchBlock& patches) noexcept { gather_patches<CopyU8>(patches); }

void gemm_u8s8_requantize_avx512vnni(const GemmBlock& block, const Requantization& p) noexcept {
  multiply_block<VnniOps>(block, RequantizeRows(p));
}

void gemm_u8s8_real_avx512vnni(const GemmBlock& block) noexcept {
  multiply_block<VnniOps>(block, RealRows{});
}

}  // namespace qslim
