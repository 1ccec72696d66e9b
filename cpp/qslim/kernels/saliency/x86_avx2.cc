// SPDX-License-Identifier: Apache-2.0
//
// Filter saliency, for AVX2. Contract: kernels.h.
#define QSLIM_SUFFIX avx2
#include "qslim/kernels/saliency/loops.inc"
