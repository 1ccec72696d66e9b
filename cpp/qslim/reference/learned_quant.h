// SPDX-License-Identifier: Apache-2.0
//
// The gradients of one element of a quantizer that learns its range: the specification of the kernels.
//
// PACT, y = clamp(x, -t, t), unsigned y = clamp(x, 0, t):
//   dx = g where -t <= x <= t (0 <= x <= t), else 0
//   dthreshold = g where x > t; -g where x < -t, which an unsigned range has not; else 0
//
// LSQ, y = (clamp(r, lo, hi)) * scale, with v = x * (1.0f / scale), r = v rounded to even,
// lo = qmin - zero_point, hi = qmax - zero_point:
//   lo <= r <= hi   dx = g   dscale = (r - v) * g   doffset = 0
//   r < lo          dx = 0   dscale = lo * g        doffset = g
//   r > hi          dx = 0   dscale = hi * g        doffset = g
// doffset is for an offset b, y = fake_quant(x - b) + b. v is a float; r - v is exact, products are exact
// doubles. No gradient-scale factor: callers multiply by theirs.
//
// NaN in x passes nothing. Sums over elements follow reference/reduce.h.
// Sources: Choi et al. 2018 (arXiv:1805.06085); Esser et al. 2020 (arXiv:1902.08153), equations 3 and 5;
// Bhalgat et al. 2020 (arXiv:2004.09576), section 3.1.
#pragma once

#include "qslim/core/qparams.h"

namespace qslim::reference {

struct PactGradient {
  float dx;
  double dthreshold;
};

struct LsqGradient {
  float dx;
  double dscale;
  double doffset;
};

PactGradient pact_backward(float x, float g, float threshold, bool is_unsigned) noexcept;
LsqGradient lsq_backward(float x, float g, const QParams& p) noexcept;

}  // namespace qslim::reference
