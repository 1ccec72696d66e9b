// SPDX-License-Identifier: Apache-2.0
//
// One elementwise operation on one element: the specification of kernels/elementwise. The formulas are those
// of formulas/elementwise.inc; formulas_test.cc compares them with the functions that they stand for, in
// double.
#pragma once

#include "qslim/formulas/elementwise_op.h"

namespace qslim::reference {

float elementwise(ElementwiseOp op, float a, float b, float p, float q) noexcept;

// The elementary functions themselves, to be measured.
float exp(float x) noexcept;
float log(float x) noexcept;
float tanh(float x) noexcept;
float sigmoid(float x) noexcept;
float erf(float x) noexcept;
float log1p_01(float z) noexcept;
float sin(float x) noexcept;
float cos(float x) noexcept;
float pow(float a, float b) noexcept;

}  // namespace qslim::reference
