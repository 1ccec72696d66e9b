// SPDX-License-Identifier: Apache-2.0
//
// The AVX-512 intrinsics: the compiler's, or, in a test build on a machine without them
// (QSLIM_EMULATE_AVX512), SIMDe's emulation of the same names. Included by x86_avx512.cc files only.
#pragma once

#if QSLIM_EMULATE_AVX512
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>
#else
#include <immintrin.h>
#endif
