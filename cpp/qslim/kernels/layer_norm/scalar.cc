// SPDX-License-Identifier: Apache-2.0
//
// Layer normalization kernels for any machine. Contract: kernels.h.
#define QSLIM_SUFFIX scalar
#include "qslim/kernels/layer_norm/loops.inc"
