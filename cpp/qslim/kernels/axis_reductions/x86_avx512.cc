// SPDX-License-Identifier: Apache-2.0
//
// Axis reduction kernels for AVX-512. Contract: kernels.h.
#define QSLIM_SUFFIX avx512
#include "qslim/kernels/axis_reductions/loops.inc"
