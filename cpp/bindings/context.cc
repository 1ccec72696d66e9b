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

std::size_t thread_count(const py::object& num_threads, const char* function) {
  const std::string seen = py::cast<std::string>(py::repr(num_threads));
  if (py::isinstance<py::bool_>(num_threads) || PyIndex_Check(num_threads.ptr()) == 0) {
    throw py::type_error(
        concatenate(function, ": num_threads must be a whole number from 1 to 1024, got ", seen));
  }
  const auto index = py::reinterpret_steal<py::object>(PyNumber_Index(num_threads.ptr()));
  int overflow = 0;
  const long long count = index ? PyLong_AsLongLongAndOverflow(index.ptr(), &overflow) : 0;
  if (PyErr_Occurred() != nullptr) throw py::error_already_set();
  QSLIM_REQUIRE(overflow == 0 && count >= 1 && count <= 1024, function,
                ": num_threads must be a whole number from 1 to 1024, got ", seen);
  return static_cast<std::size_t>(count);
}

Isa isa_of(const py::object& isa, const char* function) {
  if (isa.is_none()) return default_isa();
  if (!py::isinstance<py::str>(isa)) {
    std::string names;
    for (const Isa known : available_isas()) names += concatenate(names.empty() ? "" : ", ", name_of(known));
    throw py::type_error(concatenate(function, ": isa must be None or one of ", names, ", got ",
                                     py::cast<std::string>(py::repr(isa))));
  }
  return isa_from_name(py::cast<std::string>(isa));
}

void bind_context(py::module_& m) {
  m.def(
      "detected_isa", [] { return std::string(name_of(detected_isa())); },
      "Return the name of the best instruction set of this machine, whatever QSLIM_ISA says.");
  m.def(
      "available_isas",
      [] {
        std::vector<std::string> names;
        for (const Isa isa : available_isas()) names.emplace_back(name_of(isa));
        return names;
      },
      "Return the names of the instruction sets that run on this machine, the best one last.");
  py::class_<Context>(m, "Context", "Threads and instruction set of calls, kept from one call to the next.")
      .def(py::init([](const py::object& num_threads, const py::object& isa) {
             return std::make_unique<Context>(thread_count(num_threads, "Context"), isa_of(isa, "Context"));
           }),
           py::arg("num_threads") = 1, py::arg("isa") = py::none(),
           "Start the threads.\n"
           "\n"
           "Parameters\n"
           "----------\n"
           "num_threads : int from 1 to 1024, default=1\n"
           "isa : str or None, default=None\n"
           "    One of available_isas(); None: the best one that QSLIM_ISA allows.\n"
           "\n"
           "Raises\n"
           "------\n"
           "TypeError : num_threads that is no whole number, isa that is no name.\n"
           "ValueError : num_threads outside of its range, an isa that this machine does not have.\n")
      .def_property_readonly(
          "num_threads", [](Context& c) { return c.pool().num_threads(); },
          "Number of threads, as asked for.")
      .def_property_readonly(
          "isa", [](const Context& c) { return std::string(name_of(c.isa())); },
          "Name of the instruction set.")
      .def("__repr__", [](Context& c) {
        return concatenate("Context(num_threads=", c.pool().num_threads(), ", isa='", name_of(c.isa()), "')");
      });
}

}  // namespace qslim::python
