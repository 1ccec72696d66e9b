// SPDX-License-Identifier: Apache-2.0
//
// Elementwise kernels for AVX-512. Contract: kernels.h.
#define QSLIM_SUFFIX avx512
#include "qslim/kernels/elementwise/loops.inc"

#include "qslim/kernels/elementwise/fused_x86.inc"
#include "qslim/kernels/elementwise/table_x86.inc"
