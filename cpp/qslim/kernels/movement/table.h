// SPDX-License-Identifier: Apache-2.0
//
// The rows of kernels.inc as a table. For drivers, tests and benchmarks; per-ISA files do not include this.
#pragma once

#include "qslim/core/isa.h"
#include "qslim/kernels/movement/kernels.h"
#include "qslim/kernels/quantize/kernels.h"

namespace qslim {

struct MovementKernels {
  Isa isa;
  TransposeFn<std::uint32_t> transpose_x4;
  TransposeFn<std::uint8_t> transpose_x1;
  Interleave3Fn interleave3;
  QuantizeRowsFn quantize;
};

constexpr MovementKernels kMovementKernels[] = {
#define QSLIM_MOVEMENT_KERNELS(isa, suffix) \
  {isa, transpose_x4_##suffix, transpose_x1_##suffix, interleave3_x1_##suffix, quantize_f32_x8_rows_##suffix},
#include "qslim/kernels/movement/kernels.inc"
#undef QSLIM_MOVEMENT_KERNELS
};

}  // namespace qslim
