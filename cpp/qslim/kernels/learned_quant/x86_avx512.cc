// SPDX-License-Identifier: Apache-2.0
//
// Gradients of learned quantization, for AVX-512. Contract: kernels.h.
#define QSLIM_SUFFIX avx512
#include "qslim/kernels/learned_quant/loops.inc"
