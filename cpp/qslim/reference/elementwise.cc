// SPDX-License-Identifier: Apache-2.0
#include "qslim/reference/elementwise.h"

#include "qslim/formulas/elementary.h"

namespace qslim::reference {

float exp(float x) noexcept { return exp_f32(x); }
float log(float x) noexcept { return log_f32(x); }
float tanh(float x) noexcept { return tanh_f32(x); }
float sigmoid(float x) noexcept { return sigmoid_f32(x); }
float erf(float x) noexcept { return erf_f32(x); }
float log1p_01(float z) noexcept { return log1p_01_f32(z); }
float pow(float a, float b) noexcept { return pow_f32(a, b); }

float sin(float x) noexcept { return sin_of_any_f32(x, 0.0); }
float cos(float x) noexcept { return sin_of_any_f32(x, 1.0); }

float elementwise(ElementwiseOp op, float a, float b, float p, float q) noexcept {
  const float x = a;
  switch (op) {
#define QSLIM_ELEMENTWISE_UNARY(Name, ...) \
  case ElementwiseOp::k##Name: return __VA_ARGS__;
#define QSLIM_ELEMENTWISE_UNARY_ALPHA_BETA(Name, alpha, beta, ...) \
  case ElementwiseOp::k##Name: return __VA_ARGS__;
#define QSLIM_ELEMENTWISE_BINARY(Name, ...) \
  case ElementwiseOp::k##Name: return __VA_ARGS__;
#define QSLIM_ELEMENTWISE_STEP(Name, ...) \
  case ElementwiseOp::k##Name: return __VA_ARGS__;
#include "qslim/formulas/elementwise.inc"
  }
  return 0;
}

}  // namespace qslim::reference
