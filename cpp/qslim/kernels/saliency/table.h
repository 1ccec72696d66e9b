// SPDX-License-Identifier: Apache-2.0
//
// The rows of kernels.inc as a table. For drivers, tests and benchmarks; per-ISA files do not include this.
#pragma once

#include "qslim/core/isa.h"
#include "qslim/kernels/saliency/kernels.h"

namespace qslim {

struct SaliencyKernels {
  Isa isa;
  SumOfMagnitudesRowsFn magnitudes_rows;
  SumOfMagnitudesElementsFn magnitudes_elements;
  SumOfProductsRowsFn products_rows;
  SumOfProductsElementsFn products_elements;
  SquaredDistancesFn squared_distances;
};

constexpr SaliencyKernels kSaliencyKernels[] = {
#define QSLIM_SALIENCY_KERNELS(isa, suffix) \
  {isa,                                     \
   sum_of_magnitudes_f32_rows_##suffix,     \
   sum_of_magnitudes_f32_elements_##suffix, \
   sum_of_products_f32_rows_##suffix,       \
   sum_of_products_f32_elements_##suffix,   \
   squared_distances_f64_##suffix},
#include "qslim/kernels/saliency/kernels.inc"
#undef QSLIM_SALIENCY_KERNELS
};

}  // namespace qslim
