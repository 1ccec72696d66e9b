// SPDX-License-Identifier: Apache-2.0
//
// Pooling kernels for AVX2. Contract: kernels.h.
#define QSLIM_SUFFIX avx2
#include "qslim/kernels/pool/loops.inc"
