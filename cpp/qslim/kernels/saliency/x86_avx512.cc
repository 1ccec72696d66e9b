// SPDX-License-Identifier: Apache-2.0
//
// Filter saliency, for AVX-512. Contract: kernels.h.
#define QSLIM_SUFFIX avx512
#include "qslim/kernels/saliency/loops.inc"
