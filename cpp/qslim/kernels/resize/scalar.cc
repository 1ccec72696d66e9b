// SPDX-License-Identifier: Apache-2.0
//
// Resizing kernels for any machine. Contract: kernels.h.
#define QSLIM_SUFFIX scalar
#include "qslim/kernels/resize/loops.inc"
