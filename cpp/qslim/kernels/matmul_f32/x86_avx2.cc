// SPDX-License-Identifier: Apache-2.0
//
// Matrix product kernels for AVX2. Contract: kernels.h.
#define QSLIM_SUFFIX avx2
#include "qslim/kernels/matmul_f32/tiles_x86.inc"
