// SPDX-License-Identifier: Apache-2.0
//
// Axis reduction kernels for AVX2. Contract: kernels.h.
#define QSLIM_SUFFIX avx2
#include "qslim/kernels/axis_reductions/loops.inc"
