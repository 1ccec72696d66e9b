// SPDX-License-Identifier: Apache-2.0
//
// Gradients of learned quantization, for any machine. Contract: kernels.h.
#define QSLIM_SUFFIX scalar
#include "qslim/kernels/learned_quant/loops.inc"
