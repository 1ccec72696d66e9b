// SPDX-License-Identifier: Apache-2.0
//
// Softmax kernels for AVX2. Contract: kernels.h.
#define QSLIM_SUFFIX avx2
#include "qslim/kernels/softmax/loops.inc"
