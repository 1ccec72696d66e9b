// SPDX-License-Identifier: Apache-2.0
//
// Filter saliency, for any machine. Contract: kernels.h.
#define QSLIM_SUFFIX scalar
#include "qslim/kernels/saliency/loops.inc"
