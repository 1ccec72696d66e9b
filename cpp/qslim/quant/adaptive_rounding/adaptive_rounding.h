// SPDX-License-Identifier: Apache-2.0
//
// Rounding of a weight's rows so that a quadratic form of the errors is small. With d = integers - targets:
//
//   form(d) = d^T S d,   S = E[x x^T] of the row's inputs x, so form(d) is the error of the row's output
//
// First one element after the other is rounded to low or high, and the later ones move to where the form is
// least: with S^-1 = U^T U, U upper triangular, an error e of element k moves them by -e U[k, k + 1:] /
// U[k, k] (GPTQ, Frantar et al. 2022, arXiv:2210.17323). Then elements are flipped between low and high as
// long as that lowers the form. Source of the problem: Nagel et al. 2020, arXiv:2004.10568, equation 13.
//
// Doubles; round_rows adds them in a fixed order: the same bits on every instruction set and for any number of
// threads.
#pragma once

#include <cstddef>

#include "qslim/core/context.h"
#include "qslim/core/span.h"

namespace qslim {

struct RoundingProblem {
  std::size_t rows, size;                 // of the weight: rows of `size` elements
  Span<const double> targets;             // [rows, size], in steps
  Span<const double> low, high;           // [rows, size], the two integers of each element; they may be equal
  Span<const double> sums, upper_factor;  // [size, size] each: S and U, finite, U's diagonal > 0
};

// U of S: upper triangular with U^T U = S^-1. Throws InvalidArgument unless S is positive definite.
void inverse_factor(std::size_t size, Span<const double> sums, Span<double> upper);

// integers is [rows, size]. Throws InvalidArgument for extents that do not fit.
void round_rows(Context& context, const RoundingProblem& problem, int most_sweeps, Span<double> integers);

}  // namespace qslim
