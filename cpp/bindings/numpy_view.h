// SPDX-License-Identifier: Apache-2.0
//
// NumPy arrays as views: dtype and layout are checked, nothing is copied.
//
// `function` and `name` start the messages, as in "fake_quant: x must be a float32 array, got float64".
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <optional>
#include <variant>
#include <vector>

#include "qslim/core/context.h"
#include "qslim/core/dtype.h"
#include "qslim/core/span.h"
#include "qslim/core/tensor_view.h"

namespace qslim::python {

namespace py = pybind11;

// Return the object as a C-contiguous array of that dtype; throw TypeError (not an array, other dtype) or
// ValueError (layout).
py::array checked_array(const py::object& object, DType dtype, const char* function, const char* name);
// Return the object as an output: also writeable, of the shape of `input`, and its memory or apart from it.
py::array checked_output(const py::object& object, DType dtype, const py::array& input, const char* function);

Shape shape_of(const py::array& array);
std::string dtype_name(const py::array& array);

template <class T>
Span<const T> view(const py::array& array) {
  return {static_cast<const T*>(array.data()), static_cast<std::size_t>(array.size())};
}

template <class T>
Span<T> mutable_view(py::array& array) {
  return {static_cast<T*>(array.mutable_data()), static_cast<std::size_t>(array.size())};
}

template <class T>
py::array new_array(const Shape& shape) {
  return py::array_t<T>(std::vector<py::ssize_t>(shape.begin(), shape.end()));
}

template <class T>
py::array array_of(const std::vector<T>& values) {
  return py::array_t<T>(static_cast<py::ssize_t>(values.size()), values.data());
}

// Return the channels of x along quant_axis; None: one channel. The message names the function.
ChannelExtents extents_of(const py::array& x, std::optional<py::ssize_t> quant_axis, const char* function);

// Return a number, or a one-dimensional array of one per channel, as a vector.
template <class T>
std::vector<T> scalar_or_vector(const py::object& object, const char* function, const char* name) {
  if (py::isinstance<py::array>(object)) {
    const py::array array = checked_array(object, DTypeOf<T>::value, function, name);
    if (array.ndim() > 1) {
      throw InvalidArgument(concatenate(function, ": ", name, " must be a number or one-dimensional, got ",
                                        array.ndim(), " dimensions"));
    }
    const Span<const T> values = view<T>(array);
    return std::vector<T>(values.begin(), values.end());
  }
  try {
    return {py::cast<T>(object)};
  } catch (const py::cast_error&) {
    throw py::type_error(concatenate(function, ": ", name, " must be a number or a ",
                                     name_of(DTypeOf<T>::value), " array, got ",
                                     Py_TYPE(object.ptr())->tp_name));
  }
}

// The caller's context, or one made for this call: a single thread, the best instruction set QSLIM_ISA
// allows.
class CallContext {
 public:
  explicit CallContext(Context* given) : given_(given) {
    if (given_ == nullptr) own_.emplace();
  }
  operator Context&() { return given_ != nullptr ? *given_ : *own_; }

 private:
  Context* given_;
  std::optional<Context> own_;
};

}  // namespace qslim::python
