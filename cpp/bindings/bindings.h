// SPDX-License-Identifier: Apache-2.0
//
// The parts of the module, each defined in the file of its name.
#pragma once

#include <pybind11/pybind11.h>

#include <cstddef>
#include <string>

#include "constructed.h"
#include "qslim/core/context.h"
#include "qslim/quant/statistics/tensor_statistics.h"
#include "qslim/runtime/session.h"

QSLIM_CHECK_CONSTRUCTED(qslim::Context)
QSLIM_CHECK_CONSTRUCTED(qslim::TensorStatistics)
QSLIM_CHECK_CONSTRUCTED(qslim::runtime::Session)

namespace qslim::python {

// Convert the arguments num_threads, a whole number, and isa, a name or None. The message names the function.
std::size_t thread_count(const pybind11::object& num_threads, const char* function);
Isa isa_of(const pybind11::object& isa, const char* function);

void bind_context(pybind11::module_& m);
void bind_kernels(pybind11::module_& m);
void bind_rounding(pybind11::module_& m);
void bind_session(pybind11::module_& m);
void bind_statistics(pybind11::module_& m);

}  // namespace qslim::python
