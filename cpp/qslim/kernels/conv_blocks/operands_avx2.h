// SPDX-License-Identifier: Apache-2.0
//
// Operands of the AVX2 tiles. Included by x86_avx2.cc and x86_avxvnni.cc files only; all names are internal
// to them.
//
// Volatile assembly keeps its order. Left to itself, GCC 12 loads early, reorders the additions of two steps,
// chooses which operand of a fused multiply-add to overwrite, and spills sums inside the loop: 50 to 60 % of
// the speed.
#pragma once

#include <immintrin.h>

#include "qslim/kernels/conv_blocks/tile.h"

namespace qslim {
namespace {

// Loads are of the type that computes with them, see operands_avx512.h.
struct IntegerLanes {
  using Vector = __m256i;
  QSLIM_INLINE static void load(Vector& v, const unsigned char* b) {
    asm volatile("vmovdqa %[b], %[v]" : [v] "=x"(v) : [b] "m"(*reinterpret_cast<const Vector*>(b)));
  }
  QSLIM_INLINE static void broadcast(Vector& v, const unsigned char* a) {
    asm volatile("vpbroadcastd %[a], %[v]" : [v] "=x"(v) : [a] "m"(*reinterpret_cast<const Group*>(a)));
  }
};
struct FloatLanes {
  using Vector = __m256;
  QSLIM_INLINE static void load(Vector& v, const unsigned char* b) {
    asm volatile("vmovaps %[b], %[v]" : [v] "=x"(v) : [b] "m"(*reinterpret_cast<const Vector*>(b)));
  }
  QSLIM_INLINE static void broadcast(Vector& v, const unsigned char* a) {
    asm volatile("vbroadcastss %[a], %[v]" : [v] "=x"(v) : [a] "m"(*reinterpret_cast<const Group*>(a)));
  }
};

template <class Lanes>
struct Avx2Operands {
  using Vector = typename Lanes::Vector;
  using Operand = Vector;
  static constexpr std::size_t kVectorBytes = 32, kMaxVectors = 2;
  static constexpr bool kFourSteps = false;

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
};

struct Avx2IntegerOperands : Avx2Operands<IntegerLanes> {
  static Vector start(const std::int32_t* start, int j) {
    return load(reinterpret_cast<const unsigned char*>(start) + j * static_cast<int>(kVectorBytes));
  }
};

// Pairs of int16 by vpmaddwd, which is exact where vpmaddubsw saturates (255 * 127 * 2 > 32767).
struct Int16PairOps : Avx2IntegerOperands {
  // Measured 7 % slower with prefetching: these steps have no issue slot to spare. Low confidence.
  static constexpr bool kFetchesAhead = false;
  // 6 x 2 accumulators, 2 of B, 1 of A, 1 product: all 16 registers. With 12 x 1 GCC 12 spills sums for the
  // epilogue's constants.
  static constexpr int rows_for(int vectors) { return vectors == 2 ? 6 : 8; }

  QSLIM_INLINE static void multiply_add(Vector& acc, Operand a, Operand b) {
    __m256i products;
    asm volatile("vpmaddwd %[b], %[a], %[products]\n\tvpaddd %[products], %[acc], %[acc]"
                 : [acc] "+x"(acc), [products] "=&x"(products)
                 : [a] "x"(a), [b] "x"(b));
  }
};

}  // namespace
}  // namespace qslim
