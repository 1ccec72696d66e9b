// SPDX-License-Identifier: Apache-2.0
//
// Fake quantization, quantization and dequantization of one number: the specification of their kernels.
//
//   q = clamp(round(x * (1.0f / scale)) + zero_point, qmin, qmax)        in float, multiplied, never divided
//   fake_quant(x) = (q - zero_point) * scale      == dequantize(quantize(x)), bit for bit
//   backward, straight-through:  dx = g
//   backward, clipped:           dx = g where round(x / scale) + zero_point is in [qmin, qmax], else 0
//
// Infinities clamp. fake_quant(NaN) is that NaN; quantize(NaN) is qmin, as no integer represents it; the
// clipped gradient at NaN is 0. A result of zero is +0, also for x = -0. Source: Jacob et al. 2018
// (arXiv:1712.05877) section 3; gradients: Bengio et al. 2013 (arXiv:1308.3432).
#pragma once

#include <cstdint>

#include "qslim/core/qparams.h"
#include "qslim/core/rounding.h"

namespace qslim::reference {

float round(float v, Rounding rounding) noexcept;
float fake_quant(float x, const QParams& p, Rounding rounding) noexcept;
float fake_quant_backward_clipped(float x, float g, const QParams& p, Rounding rounding) noexcept;
std::int32_t quantize(float x, const QParams& p, Rounding rounding) noexcept;
float dequantize(std::int32_t q, const QParams& p) noexcept;

}  // namespace qslim::reference
