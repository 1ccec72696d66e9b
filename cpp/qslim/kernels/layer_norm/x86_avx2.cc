// SPDX-License-Identifier: Apache-2.0
//
// Layer normalization kernels for AVX2. Contract: kernels.h.
#define QSLIM_SUFFIX avx2
#include "qslim/kernels/layer_norm/loops.inc"
