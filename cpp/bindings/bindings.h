// SPDX-License-Identifier: Apache-2.0
//
// The parts of the module, each defined in the file of its name.
#pragma once

#include <pybind11/pybind11.h>

namespace qslim::python {

void bind_context(pybind11::module_& m);
void bind_kernels(pybind11::module_& m);
void bind_session(pybind11::module_& m);
void bind_statistics(pybind11::module_& m);

}  // namespace qslim::python
