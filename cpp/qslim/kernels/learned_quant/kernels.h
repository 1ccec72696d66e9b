// SPDX-License-Identifier: Apache-2.0
//
// Gradients of learned quantization: the functions of each instruction set. reference/learned_quant.h is the
// specification.
//
//   ..._rows       x[rows, inner]; row r has the parameters r and adds its sums, in the order of sum_order.h,
//                  to accumulator r
//   ..._elements   x[n]; element i has the parameters i and adds to accumulator i
//
// dx is x or g or touches neither. Nothing is aligned. No allocation, no exceptions, no threads.
// Included by per-ISA files: plain declarations only.
#pragma once

#include <cstddef>

#include "qslim/kernels/channel_params.h"

namespace qslim {

using PactBackwardRowsFn = void (*)(std::size_t rows, std::size_t inner, const float* x, const float* g,
                                    const float* threshold, bool is_unsigned, float* dx,
                                    double* dthreshold) noexcept;
using PactBackwardElementsFn = void (*)(std::size_t n, const float* x, const float* g, const float* threshold,
                                        bool is_unsigned, float* dx, double* dthreshold) noexcept;
using LsqBackwardRowsFn = void (*)(std::size_t rows, std::size_t inner, const float* x, const float* g,
                                   const ChannelParams& p, float* dx, double* dscale,
                                   double* doffset) noexcept;
using LsqBackwardElementsFn = void (*)(std::size_t n, const float* x, const float* g, const ChannelParams& p,
                                       float* dx, double* dscale, double* doffset) noexcept;

#define QSLIM_LEARNED_QUANT_KERNELS(isa, suffix)                                                            \
  void pact_backward_f32_rows_##suffix(std::size_t rows, std::size_t inner, const float* x, const float* g, \
                                       const float* threshold, bool is_unsigned, float* dx,                 \
                                       double* dthreshold) noexcept;                                        \
  void pact_backward_f32_elements_##suffix(std::size_t n, const float* x, const float* g,                   \
                                           const float* threshold, bool is_unsigned, float* dx,             \
                                           double* dthreshold) noexcept;                                    \
  void lsq_backward_f32_rows_##suffix(std::size_t rows, std::size_t inner, const float* x, const float* g,  \
                                      const ChannelParams& p, float* dx, double* dscale,                    \
                                      double* doffset) noexcept;                                            \
  void lsq_backward_f32_elements_##suffix(std::size_t n, const float* x, const float* g,                    \
                                          const ChannelParams& p, float* dx, double* dscale,                \
                                          double* doffset) noexcept;
#include "qslim/kernels/learned_quant/kernels.inc"
#undef QSLIM_LEARNED_QUANT_KERNELS

}  // namespace qslim
