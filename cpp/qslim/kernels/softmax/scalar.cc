// SPDX-License-Identifier: Apache-2.0
//
// Softmax kernels for any machine. Contract: kernels.h.
#define QSLIM_SUFFIX scalar
#include "qslim/kernels/softmax/loops.inc"
