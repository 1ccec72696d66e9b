// SPDX-License-Identifier: Apache-2.0
//
// Objects of bound classes whose __init__ has not run (`Session.__new__(Session)`) hold no C++ object, and
// pybind11 would hand out memory that was never written. QSLIM_CHECK_CONSTRUCTED(T) makes them a TypeError
// wherever a T is taken. Every bound class needs it, before the first binding that names the class.
#pragma once

#include <pybind11/pybind11.h>

#include <string>

namespace qslim::python {

template <class T>
void check_constructed(pybind11::handle object) {
  if (!object || !pybind11::isinstance<T>(object)) return;
  auto* const instance = reinterpret_cast<pybind11::detail::instance*>(object.ptr());
  for (const auto& part : pybind11::detail::values_and_holders(instance)) {
    if (part.holder_constructed()) continue;
    throw pybind11::type_error(std::string(Py_TYPE(object.ptr())->tp_name) +
                               ": the object has not been made; __init__ has not been called");
  }
}

}  // namespace qslim::python

#define QSLIM_CHECK_CONSTRUCTED(T)                       \
  namespace pybind11::detail {                           \
  template <>                                            \
  class type_caster<T> : public type_caster_base<T> {    \
   public:                                               \
    bool load(handle source, bool convert) {             \
      ::qslim::python::check_constructed<T>(source);     \
      return type_caster_base<T>::load(source, convert); \
    }                                                    \
  };                                                     \
  }
