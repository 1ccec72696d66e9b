// SPDX-License-Identifier: Apache-2.0
//
// Int8 matrix products on AVX-512 VNNI: vpdpbusd sums four products of unsigned and signed bytes, exactly.
// A is the bytes themselves, so a 1x1 convolution reads x in place. Contract: kernels.h.
#include "qslim/kernels/conv_blocks/epilogue_avx512.h"
#include "qslim/kernels/conv_blocks/gather.h"
#include "qslim/kernels/conv_blocks/operands_avx512.h"
#include "qslim/kernels/conv_blocks/tile.h"
#include "qslim/kernels/gemm_u8s8/kernels.h"
#include "qslim/kernels/x86_avx512.h"

namespace qslim {
namespace {

struct VnniOps : Avx512Operands<IntegerLanes> {
  QSLIM_INLINE static void multiply_add(Vector& acc, Operand a, Operand b) {
#if QSLIM_EMULATE_AVX512
    acc = _mm512_dpbusd_epi32(acc, a, b);
#else
    asm volatile("vpdpbusd %[b], %[a], %[acc]" : [acc] "+v"(acc) : [a] "v"(a), [b] "v"(b));
#endif
  }
  static Vector start(const std::int32_t* start, int j) {
    return load(reinterpret_cast<const unsigned char*>(start) + j * static_cast<int>(kVectorBytes));
  }
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
  with_requantize_rows(p, [&](const auto& epilogue) { multiply_block<VnniOps>(block, epilogue); });
}

void gemm_u8s8_real_avx512vnni(const GemmBlock& block) noexcept {
  multiply_block<VnniOps>(block, RealRows{});
}

}  // namespace qslim
