// SPDX-License-Identifier: Apache-2.0
//
// qslim._core: the C++ core as a Python module. No logic lives here; _core.pyi lists what it offers.
#include "bindings.h"
#include "qslim/core/error.h"

namespace py = pybind11;

// InvalidArgument is a std::invalid_argument, which pybind11 turns into ValueError.
PYBIND11_MODULE(_core, m) {
  m.doc() =
      "The C++ core of qslim: quantization kernels, calibration statistics, threshold search, the engine.";
  m.attr("__version__") = QSLIM_VERSION;
  py::register_exception<qslim::FormatError>(m, "FormatError", PyExc_ValueError).doc() =
      "Bytes that are no valid model file or no valid statistics.";
  qslim::python::bind_context(m);
  qslim::python::bind_kernels(m);
  qslim::python::bind_rounding(m);
  qslim::python::bind_session(m);
  qslim::python::bind_statistics(m);
}
