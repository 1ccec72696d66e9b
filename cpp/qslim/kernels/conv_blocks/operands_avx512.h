// SPDX-License-Identifier: Apache-2.0
//
// Operands of the AVX-512 tiles. Included by AVX-512 files only; all names are internal to them.
//
// Volatile assembly keeps its order. Left to itself, GCC 12 loads early, keeps two copies of accumulators and
// runs out of registers inside the loop: VNNI tiles then reach 53 % of their speed.
#pragma once

#include "qslim/kernels/conv_blocks/tile.h"
#include "qslim/kernels/x86_avx512.h"

namespace qslim {
namespace {

// Loads are of the type that computes with them. On Zen 4 an integer operation waits for what vbroadcastss
// loads: 16 rows of one vector ran at 73 % of the speed of vpdpbusd.
struct IntegerLanes {
  using Vector = __m512i;
#if !QSLIM_EMULATE_AVX512
  QSLIM_INLINE static void load(Vector& v, const unsigned char* b) {
    asm volatile("vmovdqa64 %[b], %[v]" : [v] "=v"(v) : [b] "m"(*reinterpret_cast<const Vector*>(b)));
  }
  QSLIM_INLINE static void broadcast(Vector& v, const unsigned char* a) {
    asm volatile("vpbroadcastd %[a], %[v]" : [v] "=v"(v) : [a] "m"(*reinterpret_cast<const Group*>(a)));
  }
#endif
};
struct FloatLanes {
  using Vector = __m512;
#if !QSLIM_EMULATE_AVX512
  QSLIM_INLINE static void load(Vector& v, const unsigned char* b) {
    asm volatile("vmovaps %[b], %[v]" : [v] "=v"(v) : [b] "m"(*reinterpret_cast<const Vector*>(b)));
  }
  QSLIM_INLINE static void broadcast(Vector& v, const unsigned char* a) {
    asm volatile("vbroadcastss %[a], %[v]" : [v] "=v"(v) : [a] "m"(*reinterpret_cast<const Group*>(a)));
  }
#endif
};

template <class Lanes>
struct Avx512Operands {
  using Vector = typename Lanes::Vector;
  using Operand = Vector;
  static constexpr std::size_t kVectorBytes = 64, kMaxVectors = 4;
  static constexpr bool kFetchesAhead = false, kFourSteps = false;
  // At most 24 accumulators, 4 of B, 1 of A and 1 product of 32 registers; the latency of 4 needs 4
  // accumulators.
  static constexpr int rows_for(int vectors) {
    return vectors == 4 ? 6 : vectors == 3 ? 8 : vectors == 2 ? 12 : 16;
  }

#if QSLIM_EMULATE_AVX512
  static Operand load(const unsigned char* b) { return bits_as<Operand>(_mm512_load_si512(b)); }
  static Operand broadcast(const unsigned char* a) {
    std::int32_t word;
    __builtin_memcpy(&word, a, 4);
    return bits_as<Operand>(_mm512_set1_epi32(word));
  }
#else
  QSLIM_INLINE static Operand load(const unsigned char* b) {
    Operand v;
    Lanes::load(v, b);
    return v;
  }
  QSLIM_INLINE static Operand broadcast(const unsigned char* a) {
    Operand v;
    Lanes::broadcast(v, a);
    return v;
  }
#endif
};

}  // namespace
}  // namespace qslim
