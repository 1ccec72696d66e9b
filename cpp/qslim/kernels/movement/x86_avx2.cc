// SPDX-License-Identifier: Apache-2.0
//
// Movement kernels for AVX2. Contract: kernels.h.
#define QSLIM_SUFFIX avx2
#include "qslim/kernels/movement/shuffles_x86.inc"
