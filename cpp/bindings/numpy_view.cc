// SPDX-License-Identifier: Apache-2.0
//
// The checks of numpy_view.h.
#include "numpy_view.h"

#include <cstdint>
#include <string>

namespace qslim::python {
namespace {

py::dtype numpy_dtype(DType dtype) { return py::dtype(name_of(dtype)); }

std::string shape_text(const py::array& array) {
  std::string text = "(";
  for (py::ssize_t i = 0; i < array.ndim(); ++i) text += (i > 0 ? ", " : "") + std::to_string(array.shape(i));
  return text + (array.ndim() == 1 ? ",)" : ")");
}

}  // namespace

std::string dtype_name(const py::array& array) { return py::str(static_cast<py::object>(array.dtype())); }

py::array checked_array(const py::object& object, DType dtype, const char* function, const char* name) {
  if (!py::isinstance<py::array>(object)) {
    throw py::type_error(concatenate(function, ": ", name, " must be a ", name_of(dtype),
                                     " numpy array, got ", Py_TYPE(object.ptr())->tp_name));
  }
  auto array = py::reinterpret_borrow<py::array>(object);
  if (!array.dtype().equal(numpy_dtype(dtype))) {
    throw py::type_error(
        concatenate(function, ": ", name, " must be a ", name_of(dtype), " array, got ", dtype_name(array)));
  }
  QSLIM_REQUIRE((array.flags() & py::array::c_style) != 0, function, ": ", name,
                " must be C-contiguous; numpy.ascontiguousarray makes such a copy");
  return array;
}

py::array checked_output(const py::object& object, DType dtype, const py::array& input,
                         const char* function) {
  py::array out = checked_array(object, dtype, function, "out");
  QSLIM_REQUIRE(out.writeable(), function, ": out must be writeable");
  QSLIM_REQUIRE(shape_of(out) == shape_of(input), function, ": out must have the shape of the input, ",
                shape_text(input), ", got ", shape_text(out));
  const auto begin = reinterpret_cast<std::uintptr_t>(input.data()),
             out_begin = reinterpret_cast<std::uintptr_t>(out.data());
  const std::uintptr_t end = begin + static_cast<std::uintptr_t>(input.nbytes());
  const std::uintptr_t out_end = out_begin + static_cast<std::uintptr_t>(out.nbytes());
  const bool same = begin == out_begin && input.nbytes() == out.nbytes();
  QSLIM_REQUIRE(same || out_end <= begin || end <= out_begin, function,
                ": out must be the input itself or not overlap it");
  return out;
}

Shape shape_of(const py::array& array) {
  Shape shape;
  for (py::ssize_t i = 0; i < array.ndim(); ++i) shape.push_back(static_cast<std::size_t>(array.shape(i)));
  return shape;
}

ChannelExtents extents_of(const py::array& x, std::optional<py::ssize_t> quant_axis, const char* function) {
  if (!quant_axis) return whole_tensor(static_cast<std::size_t>(x.size()));
  try {
    return channel_extents(shape_of(x), *quant_axis);
  } catch (const InvalidArgument& error) {
    throw InvalidArgument(concatenate(function, ": ", error.what()));
  }
}

}  // namespace qslim::python
