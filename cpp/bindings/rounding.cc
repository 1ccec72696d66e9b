// SPDX-License-Identifier: Apache-2.0
//
// Adaptive rounding of weights.
#include "bindings.h"
#include "gil.h"
#include "numpy_view.h"
#include "qslim/quant/adaptive_rounding/adaptive_rounding.h"

namespace qslim::python {
namespace {

using Matrix = py::array_t<double, py::array::c_style>;

Span<const double> elements_of(const Matrix& matrix, py::ssize_t rows, py::ssize_t columns,
                               const char* name) {
  if (matrix.ndim() != 2 || matrix.shape(0) != rows || matrix.shape(1) != columns) {
    throw InvalidArgument(concatenate(name, " must be of shape (", rows, ", ", columns, ")"));
  }
  return {matrix.data(), static_cast<std::size_t>(matrix.size())};
}

Matrix py_inverse_factor(const Matrix& sums) {
  const py::ssize_t size = sums.ndim() > 0 ? sums.shape(0) : 0;
  const Span<const double> from = elements_of(sums, size, size, "inverse_factor: sums");
  Matrix upper({size, size});
  const Span<double> into{upper.mutable_data(), static_cast<std::size_t>(upper.size())};
  const ReleasedGil release;
  inverse_factor(static_cast<std::size_t>(size), from, into);
  return upper;
}

Matrix py_round_rows(const Matrix& targets, const Matrix& low, const Matrix& high, const Matrix& sums,
                     const Matrix& upper_factor, int most_sweeps, Context* context) {
  if (targets.ndim() != 2) throw InvalidArgument("round_rows: targets must have two dimensions");
  const py::ssize_t rows = targets.shape(0), size = targets.shape(1);
  const RoundingProblem problem{static_cast<std::size_t>(rows),
                                static_cast<std::size_t>(size),
                                elements_of(targets, rows, size, "round_rows: targets"),
                                elements_of(low, rows, size, "round_rows: low"),
                                elements_of(high, rows, size, "round_rows: high"),
                                elements_of(sums, size, size, "round_rows: sums"),
                                elements_of(upper_factor, size, size, "round_rows: upper_factor")};
  Matrix integers({rows, size});
  const Span<double> into{integers.mutable_data(), static_cast<std::size_t>(integers.size())};
  CallContext call(context);
  const ReleasedGil release;
  round_rows(call, problem, most_sweeps, into);
  return integers;
}

}  // namespace

void bind_rounding(py::module_& m) {
  using py::arg;
  m.def("inverse_factor", &py_inverse_factor, arg("sums").noconvert(),
        "Return the upper triangular U with U^T U the inverse of `sums`.\n"
        "\n"
        "Parameters\n"
        "----------\n"
        "sums : ndarray of float64, shape (size, size)\n"
        "    Symmetric and positive definite.\n"
        "\n"
        "Raises\n"
        "------\n"
        "ValueError : it is no such matrix.\n");
  m.def("round_rows", &py_round_rows, arg("targets").noconvert(), arg("low").noconvert(),
        arg("high").noconvert(), arg("sums").noconvert(), arg("upper_factor").noconvert(), arg("most_sweeps"),
        arg("context") = py::none(),
        "Return rows of integers d + targets with a small error d^T sums d of each row.\n"
        "\n"
        "Parameters\n"
        "----------\n"
        "targets, low, high : ndarray of float64, shape (rows, size)\n"
        "    Each element goes to the integer low or high, which lie beside its target.\n"
        "sums, upper_factor : ndarray of float64, shape (size, size)\n"
        "    E[x x^T] of a row's inputs, and the upper triangular U with U^T U its inverse.\n"
        "most_sweeps : int\n"
        "    Bounds the passes that flip elements one by one.\n"
        "context : Context or None, default=None\n"
        "    None: one thread.\n"
        "\n"
        "Raises\n"
        "------\n"
        "ValueError : the shapes do not fit.\n");
}

}  // namespace qslim::python
