// SPDX-License-Identifier: Apache-2.0
//
// Double-precision sums of float data in the order of reference/reduce.h, written once for every instruction
// set: the 16 lanes of a block are four vectors of four doubles. The vectors are those of the compiler (GCC,
// Clang): one register each with AVX, two with SSE2.
// Internal linkage on purpose: per-ISA files include this.
#pragma once

#include <cstddef>
#include <cstdint>

#include "qslim/kernels/loop_kernels.h"
#include "qslim/kernels/sum_order.h"

namespace qslim {
namespace {

typedef float Floats __attribute__((vector_size(16)));
typedef std::int32_t Mask __attribute__((vector_size(16)));  // -1 or 0: what comparing two Floats gives
typedef double Doubles __attribute__((vector_size(32)));

QSLIM_INLINE Floats load_floats(const float* x) noexcept {
  Floats v;
  __builtin_memcpy(&v, x, sizeof v);
  return v;
}

QSLIM_INLINE void store_floats(float* x, Floats v) noexcept { __builtin_memcpy(x, &v, sizeof v); }

QSLIM_INLINE Floats all_floats(float x) noexcept { return Floats{x, x, x, x}; }

// v where the mask is set, else +0.
QSLIM_INLINE Floats keep(Mask mask, Floats v) noexcept {
  return reinterpret_cast<Floats>(reinterpret_cast<Mask>(v) & mask);
}

QSLIM_INLINE Doubles to_doubles(Floats v) noexcept { return __builtin_convertvector(v, Doubles); }

QSLIM_INLINE Doubles load_doubles(const double* x) noexcept {
  Doubles v;
  __builtin_memcpy(&v, x, sizeof v);
  return v;
}

QSLIM_INLINE void store_doubles(double* x, Doubles v) noexcept { __builtin_memcpy(x, &v, sizeof v); }

// The lanes of one sum. No lane is ever -0: it starts from +0, so adding either zero changes nothing, and a
// last group may be filled up with terms of zero.
struct DoubleLanes {
  Doubles group[4] = {};

  // Lanes in halves: j with j + 8, then + 4, + 2, + 1.
  QSLIM_INLINE double fold() const noexcept {
    const Doubles v = (group[0] + group[2]) + (group[1] + group[3]);
    return (v[0] + v[2]) + (v[1] + v[3]);
  }
};

}  // namespace
}  // namespace qslim
