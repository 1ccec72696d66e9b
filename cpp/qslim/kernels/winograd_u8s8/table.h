// SPDX-License-Identifier: Apache-2.0
//
// The rows of kernels.inc as a table. For drivers, tests and benchmarks; per-ISA files do not include this.
#pragma once

#include "qslim/core/isa.h"
#include "qslim/kernels/conv_blocks/layouts.h"
#include "qslim/kernels/winograd_u8s8/kernels.h"

namespace qslim {

struct WinogradU8S8Kernel {
  Isa isa;
  const char* name;
  GemmLayout layout;
  WinogradTransformFn transform;
  WinogradRequantizeFn requantize;
  WinogradRealFn real;
};

constexpr WinogradU8S8Kernel kWinogradU8S8Kernels[] = {
#define QSLIM_WINOGRAD_U8S8_KERNELS(isa, suffix, lanes, max_vectors, packed_order) \
  {isa,                                                                            \
   "winograd_u8s8_" #suffix,                                                       \
   {lanes, max_vectors, 2, packed_order},                                          \
   winograd_u8s8_transform_##suffix,                                               \
   winograd_u8s8_requantize_##suffix,                                              \
   winograd_u8s8_real_##suffix},
#include "qslim/kernels/winograd_u8s8/kernels.inc"
#undef QSLIM_WINOGRAD_U8S8_KERNELS
    {Isa::kScalar, nullptr, {}, nullptr, nullptr, nullptr},  // where there is none
};

}  // namespace qslim
