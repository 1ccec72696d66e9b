// SPDX-License-Identifier: Apache-2.0
//
// Pooling kernels for any machine. Contract: kernels.h.
#define QSLIM_SUFFIX scalar
#include "qslim/kernels/pool/loops.inc"
