// SPDX-License-Identifier: Apache-2.0
//
// Float matrix products: the functions of each instruction set. reference/conv.h is the specification.
//
//   y[m, n] = min(max(sum + bias[n], lo), hi)
//
// Each sum is one chain of fused multiply-adds over k, from +0, so all kernels agree bit for bit. NaN stays.
// Included by per-ISA files: plain declarations only.
#pragma once

#include "qslim/kernels/conv_blocks/gemm_block.h"

namespace qslim {

using GatherF32Fn = void (*)(const PatchBlock& patches) noexcept;
using GemmF32Fn = void (*)(const GemmBlock& block, const Clamp& clamp) noexcept;

#define QSLIM_GEMM_F32_KERNELS(isa, suffix, lanes, max_vectors) \
  void gather_f32_##suffix(const PatchBlock& patches) noexcept; \
  void gemm_f32_##suffix(const GemmBlock& block, const Clamp& clamp) noexcept;
#include "qslim/kernels/gemm_f32/kernels.inc"
#undef QSLIM_GEMM_F32_KERNELS

}  // namespace qslim
