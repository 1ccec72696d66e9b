// SPDX-License-Identifier: Apache-2.0
//
// The rows of kernels.inc as a table. For drivers, tests and benchmarks; per-ISA files do not include this.
#pragma once

#include "qslim/core/isa.h"
#include "qslim/kernels/layer_norm/kernels.h"

namespace qslim {

struct LayerNormKernels {
  Isa isa;
  LayerNormFn row;
};

constexpr LayerNormKernels kLayerNormKernels[] = {
#define QSLIM_LAYER_NORM_KERNELS(isa, suffix) {isa, layer_norm_row_##suffix},
#include "qslim/kernels/layer_norm/kernels.inc"
#undef QSLIM_LAYER_NORM_KERNELS
};

}  // namespace qslim
