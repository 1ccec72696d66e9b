// SPDX-License-Identifier: Apache-2.0
//
// Movement kernels for AVX-512. Contract: kernels.h.
#define QSLIM_SUFFIX avx512
#include "qslim/kernels/movement/shuffles_x86.inc"
