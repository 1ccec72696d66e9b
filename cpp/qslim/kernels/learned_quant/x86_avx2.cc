// SPDX-License-Identifier: Apache-2.0
//
// Gradients of learned quantization, for AVX2. Contract: kernels.h.
#define QSLIM_SUFFIX avx2
#include "qslim/kernels/learned_quant/loops.inc"
