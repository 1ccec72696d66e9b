// SPDX-License-Identifier: Apache-2.0
//
// Macros for loops over registers. Included by per-ISA files.
#pragma once

#include "qslim/formulas/inline.h"

// Arrays of accumulators live in registers only when every loop over them is unrolled.
#define QSLIM_UNROLL _Pragma("GCC unroll 16")
