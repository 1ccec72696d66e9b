// SPDX-License-Identifier: Apache-2.0
//
// Fake-quantization kernels: the functions of each instruction set. reference/fake_quant.h is the
// specification.
//
//   forward        y = fake_quant(x)
//   backward       dx = g where x was not clipped, else 0
//   ..._rows       x[rows, inner], row r with parameters p[r]
//   ..._elements   x[n], element i with parameters p[i]
//
// The output is an input or does not touch it. Nothing is aligned. No allocation, no exceptions, no threads.
// `stream` asks the forward rows for stores that go past the caches: for results far larger than they are.
// Included by per-ISA files: plain declarations only.
#pragma once

#include <cstddef>

#include "qslim/core/rounding.h"
#include "qslim/kernels/channel_params.h"

namespace qslim {

using FakeQuantRowsFn = void (*)(std::size_t rows, std::size_t inner, const float* x, const ChannelParams& p,
                                 Rounding rounding, bool stream, float* y) noexcept;
using FakeQuantElementsFn = void (*)(std::size_t n, const float* x, const ChannelParams& p, Rounding rounding,
                                     float* y) noexcept;
using FakeQuantBackwardRowsFn = void (*)(std::size_t rows, std::size_t inner, const float* x, const float* g,
                                         const ChannelParams& p, Rounding rounding, float* dx) noexcept;
using FakeQuantBackwardElementsFn = void (*)(std::size_t n, const float* x, const float* g,
                                             const ChannelParams& p, Rounding rounding, float* dx) noexcept;

#define QSLIM_FAKE_QUANT_KERNELS(isa, suffix)                                                           \
  void fake_quant_f32_rows_##suffix(std::size_t rows, std::size_t inner, const float* x,                \
                                    const ChannelParams& p, Rounding rounding, bool stream,             \
                                    float* y) noexcept;                                                 \
  void fake_quant_f32_elements_##suffix(std::size_t n, const float* x, const ChannelParams& p,          \
                                        Rounding rounding, float* y) noexcept;                          \
  void fake_quant_backward_f32_rows_##suffix(std::size_t rows, std::size_t inner, const float* x,       \
                                             const float* g, const ChannelParams& p, Rounding rounding, \
                                             float* dx) noexcept;                                       \
  void fake_quant_backward_f32_elements_##suffix(std::size_t n, const float* x, const float* g,         \
                                                 const ChannelParams& p, Rounding rounding,             \
                                                 float* dx) noexcept;
#include "qslim/kernels/fake_quant/kernels.inc"
#undef QSLIM_FAKE_QUANT_KERNELS

}  // namespace qslim
