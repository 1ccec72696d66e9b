// SPDX-License-Identifier: Apache-2.0
//
// Operands of the tiles for ARM64, and what gathers their A. Included by arm_*.cc files only; all names are
// internal to them.
//
// Volatile assembly keeps its order, as in operands_avx2.h: left to itself, GCC 12 loads A of all rows first, and
// spills sums inside the loop.
#pragma once

#include <arm_neon.h>

#include "qslim/kernels/conv_blocks/tile.h"

namespace qslim {
namespace {

template <class Lanes>
struct NeonOperands {
  using Operand = Lanes;
  static constexpr std::size_t kVectorBytes = 16, kMaxVectors = 4;
  // A broadcast takes one of two vector pipes, where multiplying by a lane takes none.
  static constexpr bool kFetchesAhead = false, kFourSteps = true;
  // 5 x 4 or 7 x 3 accumulators, a row of A each, one or two of B: 30 of 32 registers at most.
  static constexpr int rows_for(int vectors) { return vectors == 4 ? 5 : vectors == 3 ? 7 : 8; }

  QSLIM_INLINE static Operand load(const unsigned char* b) {
    Operand v;
    asm volatile("ldr %q[v], %[b]" : [v] "=w"(v) : [b] "m"(*reinterpret_cast<const Operand*>(b)));
    return v;
  }
  QSLIM_INLINE static Operand load_four(const unsigned char* a) { return load(a); }
  QSLIM_INLINE static Operand broadcast(const unsigned char* a) {
    Operand v;
    asm volatile("ld1r {%[v].4s}, %[a]" : [v] "=w"(v) : [a] "Q"(*reinterpret_cast<const Group*>(a)));
    return v;
  }
};

// One chain of fused multiply-adds for each column.
struct FloatOperands : NeonOperands<float32x4_t> {
  using Vector = float32x4_t;
  QSLIM_INLINE static Vector start(const std::int32_t*, int) { return vdupq_n_f32(0); }
  QSLIM_INLINE static void multiply_add(Vector& acc, Operand a, Operand b) {
    asm volatile("fmla %[acc].4s, %[a].4s, %[b].4s" : [acc] "+w"(acc) : [a] "w"(a), [b] "w"(b));
  }
  template <int I>
  QSLIM_INLINE static void multiply_add_at(Vector& acc, Operand a, Operand b) {
    asm volatile("fmla %[acc].4s, %[b].4s, %[a].s[%[i]]"
                 : [acc] "+w"(acc)
                 : [a] "w"(a), [b] "w"(b), [i] "i"(I));
  }
};

// Bytes of A and of B, 4 of K for each of 4 columns.
struct ByteOperands : NeonOperands<int8x16_t> {
  using Vector = int32x4_t;
  QSLIM_INLINE static Vector start(const std::int32_t* start, int j) { return vld1q_s32(start + 4 * j); }
};

// The same with 128 taken from each byte of A, which makes it signed; `start` makes up for it (GemmLayout).
struct SignedByteOperands : ByteOperands {
  QSLIM_INLINE static Operand broadcast(const unsigned char* a) { return shift(ByteOperands::broadcast(a)); }
  QSLIM_INLINE static Operand load_four(const unsigned char* a) { return shift(load(a)); }

 private:
  QSLIM_INLINE static Operand shift(Operand v) {
    asm volatile("eor %[v].16b, %[v].16b, %[shift].16b" : [v] "+w"(v) : [shift] "w"(vdupq_n_s8(-128)));
    return v;
  }
};

struct CopyU8 {
  using X = std::uint8_t;
  using A = std::uint8_t;
  static void copy(const X* x, std::size_t n, int, A* a) {
    for (std::size_t i = 0; i < n; i += 16) vst1q_u8(a + i, vld1q_u8(x + i));
  }
  static void fill(std::size_t n, int zero, A* a) {
    const uint8x16_t z = vdupq_n_u8(static_cast<std::uint8_t>(zero));
    for (std::size_t i = 0; i < n; i += 16) vst1q_u8(a + i, z);
  }
};

}  // namespace
}  // namespace qslim
