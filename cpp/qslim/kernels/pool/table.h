// SPDX-License-Identifier: Apache-2.0
//
// The rows of kernels.inc as a table. For drivers, tests and benchmarks; per-ISA files do not include this.
#pragma once

#include "qslim/core/isa.h"
#include "qslim/kernels/pool/kernels.h"
#include "qslim/kernels/quantize/kernels.h"

namespace qslim {

struct PoolKernels {
  Isa isa;
  PoolMaxFn<std::uint8_t> max_u8;
  PoolMaxFn<float> max_f32;
  PoolSumFn<std::uint8_t, std::int32_t> sum_u8;
  PoolSumFn<float, float> sum_f32;
  PoolScaleFn scale;
  PoolDivideFn divide;
  QuantizeRowsFn quantize;
};

constexpr PoolKernels kPoolKernels[] = {
#define QSLIM_POOL_KERNELS(isa, suffix) \
  {isa,                                 \
   pool_max_u8_##suffix,                \
   pool_max_f32_##suffix,               \
   pool_sum_u8_##suffix,                \
   pool_sum_f32_##suffix,               \
   pool_scale_##suffix,                 \
   pool_divide_##suffix,                \
   quantize_f32_x8_rows_##suffix},
#include "qslim/kernels/pool/kernels.inc"
#undef QSLIM_POOL_KERNELS
};

}  // namespace qslim
