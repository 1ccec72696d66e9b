// SPDX-License-Identifier: Apache-2.0
//
// The AVX-512 intrinsics: the compiler's, or, in a test build on a machine without them
// (QSLIM_EMULATE_AVX512), an emulation of the same names. Included by x86_avx512.cc files only.
#pragma once

#if QSLIM_EMULATE_AVX512
#include "qslim/kernels/emulated_avx512.h"
#else
#include <immintrin.h>
#endif
