// SPDX-License-Identifier: Apache-2.0
//
// Axis reduction kernels for any machine. Contract: kernels.h.
#define QSLIM_SUFFIX scalar
#include "qslim/kernels/axis_reductions/loops.inc"
