// SPDX-License-Identifier: Apache-2.0
//
// Softmax kernels for AVX-512. Contract: kernels.h.
#define QSLIM_SUFFIX avx512
#include "qslim/kernels/softmax/loops.inc"
