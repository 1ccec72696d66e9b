// SPDX-License-Identifier: Apache-2.0
//
// Context and the instruction sets.
#include "qslim/core/context.h"

#include <pybind11/stl.h>

#include <optional>
#include <string>
#include <vector>

#include "bindings.h"

namespace py = pybind11;

namespace qslim::python {

void bind_context(py::module_& m) {
  m.def(
      "detected_isa", [] { return std::string(name_of(detected_isa())); },
      "The best instruction set of this machine; QSLIM_ISA plays no part.");
  m.def(
      "available_isas",
      [] {
        std::vector<std::string> names;
        for (const Isa isa : available_isas()) names.emplace_back(name_of(isa));
        return names;
      },
      "The instruction sets that run on this machine, the best one last.");
  py::class_<Context>(m, "Context", "How a call shall run: threads and instruction set.")
      .def(py::init([](std::size_t num_threads, const std::optional<std::string>& isa) {
             return std::make_unique<Context>(num_threads, isa ? isa_from_name(*isa) : default_isa());
           }),
           py::arg("num_threads") = 1, py::arg("isa") = py::none())
      .def_property_readonly("num_threads", [](Context& c) { return c.pool().num_threads(); })
      .def_property_readonly("isa", [](const Context& c) { return std::string(name_of(c.isa())); })
      .def("__repr__", [](Context& c) {
        return concatenate("Context(num_threads=", c.pool().num_threads(), ", isa='", name_of(c.isa()), "')");
      });
}

}  // namespace qslim::python
