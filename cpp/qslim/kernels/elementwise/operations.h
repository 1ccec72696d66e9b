// SPDX-License-Identifier: Apache-2.0
//
// The operations of elementwise programs. A NaN goes through all of them. Included by per-ISA files: plain
// declarations only.
#pragma once

#include <cstdint>

namespace qslim {

enum class ElementwiseOp : std::uint8_t {
  kIdentity,
  // binary
  kAdd,
  kSub,
  kMul,
  kDiv,
  kMax,
  kMin,
  kPow,
  kPRelu,  // x < 0 ? x * slope : x, slope is the second operand
  // unary; p and q are the step's parameters
  kClip,         // min(max(x, p), q); Relu is (0, inf), Relu6 (0, 6)
  kLeakyRelu,    // x < 0 ? x * p : x
  kElu,          // x < 0 ? p * (exp(x) - 1) : x
  kHardSigmoid,  // min(max(x * p + q, 0), 1)
  kHardSwish,    // x * min(max(x + 3, 0), 6) / 6, the multiplication by x first
  kSigmoid,
  kTanh,
  kExp,
  kLog,
  kSqrt,
  kErf,
  kReciprocal,
  kNeg,
  kAbs,
  kFloor,
  kCeil,
  kSquare,
  kRound,     // half to even
  kSilu,      // x * sigmoid(x)
  kGelu,      // 0.5 x (1 + erf(x / sqrt 2))
  kGeluTanh,  // the tanh form
  kSoftplus,
  kMish,
  kSin,
  kCos,
};

}  // namespace qslim
