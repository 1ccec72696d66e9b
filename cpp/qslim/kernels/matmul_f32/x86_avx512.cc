// SPDX-License-Identifier: Apache-2.0
//
// Matrix product kernels for AVX-512. Contract: kernels.h.
#define QSLIM_SUFFIX avx512
#include "qslim/kernels/matmul_f32/tiles_x86.inc"
