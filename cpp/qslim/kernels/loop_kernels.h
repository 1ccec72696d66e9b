// SPDX-License-Identifier: Apache-2.0
//
// Kernels written once as plain loops: loops.inc of a family holds them, and scalar.cc, x86_avx2.cc and
// x86_avx512.cc include it after defining QSLIM_SUFFIX. isa.cmake compiles each for its instruction set; the
// compiler vectorizes. Without contraction and reassociation every file computes the same bits.
#pragma once

#include "qslim/formulas/inline.h"

#define QSLIM_JOIN(name, suffix) name##_##suffix
#define QSLIM_JOIN_EXPANDED(name, suffix) QSLIM_JOIN(name, suffix)
// QSLIM_KERNEL(max_u8) is max_u8_avx2 in x86_avx2.cc.
#define QSLIM_KERNEL(name) QSLIM_JOIN_EXPANDED(name, QSLIM_SUFFIX)

// Before a loop whose iterations do not depend on each other: its arrays are equal or disjoint, never
// shifted.
#if defined(__clang__)
#define QSLIM_INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#elif defined(__GNUC__)
#define QSLIM_INDEPENDENT _Pragma("GCC ivdep")
#else
#define QSLIM_INDEPENDENT
#endif
