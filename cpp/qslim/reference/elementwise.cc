// SPDX-License-Identifier: Apache-2.0
#include "qslim/reference/elementwise.h"

#include <cmath>

#include "qslim/kernels/elementary.h"

namespace qslim::reference {

float exp(float x) noexcept { return exp_f32(x); }
float log(float x) noexcept { return log_f32(x); }
float tanh(float x) noexcept { return tanh_f32(x); }
float sigmoid(float x) noexcept { return sigmoid_f32(x); }
float erf(float x) noexcept { return erf_f32(x); }
float log1p_01(float z) noexcept { return log1p_01_f32(z); }
float pow(float a, float b) noexcept { return pow_f32(a, b); }

namespace {

float sin_of_turned(float x, double quarter_turns) noexcept {
  const bool is_large = std::fabs(x) >= kLargeAngle && !std::isinf(x);
  return is_large ? sin_of_large_f32(x, quarter_turns) : sin_f32(x, quarter_turns);
}

}  // namespace

float sin(float x) noexcept { return sin_of_turned(x, 0.0); }
float cos(float x) noexcept { return sin_of_turned(x, 1.0); }

namespace {

float limit(float x, float lo, float hi) {
  if (std::isnan(x)) return x;
  if (x < lo) x = lo;
  if (x > hi) x = hi;
  return x;
}

}  // namespace

float elementwise(ElementwiseOp op, float a, float b, float p, float q) noexcept {
  switch (op) {
    case ElementwiseOp::kIdentity: return a;
    case ElementwiseOp::kAdd: return a + b;
    case ElementwiseOp::kSub: return a - b;
    case ElementwiseOp::kMul: return a * b;
    case ElementwiseOp::kDiv: return a / b;
    case ElementwiseOp::kMax: return std::isnan(a) || std::isnan(b) ? a + b : a > b ? a : b;
    case ElementwiseOp::kMin: return std::isnan(a) || std::isnan(b) ? a + b : a < b ? a : b;
    case ElementwiseOp::kPow: return pow_f32(a, b);
    case ElementwiseOp::kPRelu: return a < 0 ? a * b : a;
    case ElementwiseOp::kClip: return limit(a, p, q);
    case ElementwiseOp::kLeakyRelu: return a < 0 ? a * p : a;
    case ElementwiseOp::kElu: return a < 0 ? p * (exp_f32(a) - 1) : a;
    case ElementwiseOp::kHardSigmoid: return limit(a * p + q, 0, 1);
    case ElementwiseOp::kHardSwish: return a * limit(a + 3, 0, 6) / 6;
    case ElementwiseOp::kSigmoid: return sigmoid_f32(a);
    case ElementwiseOp::kTanh: return tanh_f32(a);
    case ElementwiseOp::kExp: return exp_f32(a);
    case ElementwiseOp::kLog: return log_f32(a);
    case ElementwiseOp::kSqrt: return std::sqrt(a);
    case ElementwiseOp::kErf: return erf_f32(a);
    case ElementwiseOp::kReciprocal: return 1 / a;
    case ElementwiseOp::kNeg: return -a;
    case ElementwiseOp::kAbs: return std::fabs(a);
    case ElementwiseOp::kFloor: return std::floor(a);
    case ElementwiseOp::kCeil: return std::ceil(a);
    case ElementwiseOp::kSquare: return a * a;
    case ElementwiseOp::kRound: return std::nearbyint(a);
    case ElementwiseOp::kSilu: return a * sigmoid_f32(a);
    case ElementwiseOp::kGelu: return 0.5f * a * (1 + erf_f32(a * 0.707106781f));
    case ElementwiseOp::kGeluTanh:
      return 0.5f * a * (1 + tanh_f32(0.797884561f * (a + 0.044715f * (a * a * a))));
    case ElementwiseOp::kSoftplus: return (a < 0 ? 0.0f : a) + log1p_01_f32(exp_f32(-std::fabs(a)));
    case ElementwiseOp::kMish: {
      const float e = exp_f32(a > 20 ? 20.0f : a), t = e * (e + 2);
      return a * (t / (t + 2));
    }
    case ElementwiseOp::kSin: return reference::sin(a);
    case ElementwiseOp::kCos: return reference::cos(a);
  }
  return 0;
}

}  // namespace qslim::reference
