// SPDX-License-Identifier: Apache-2.0
//
// TensorStatistics and the threshold search.
#include <string>
#include <string_view>

#include "bindings.h"
#include "gil.h"
#include "numpy_view.h"
#include "qslim/quant/statistics/tensor_statistics.h"
#include "qslim/quant/threshold_search/threshold_search.h"

namespace qslim::python {
namespace {

void update(TensorStatistics& statistics, const py::object& x_object, Context* context) {
  const py::array x = checked_array(x_object, DType::kFloat32, "TensorStatistics.update", "x");
  const auto from = view<float>(x);
  const std::size_t samples = x.ndim() > 1 ? static_cast<std::size_t>(x.shape(0)) : 1;
  CallContext call(context);
  const ReleasedGil release;
  statistics.update(call, from, samples);
}

py::array counts(Span<const std::uint64_t> values) {
  return py::array_t<std::uint64_t>(static_cast<py::ssize_t>(values.size()), values.data());
}

TensorStatistics from_bytes(const py::bytes& bytes) {
  return TensorStatistics::from_bytes(static_cast<std::string_view>(bytes));
}

float py_find_threshold(const TensorStatistics& statistics, const std::string& algo, int quant_bits,
                        bool is_unsigned, double hist_percent) {
  const ReleasedGil release;
  return find_threshold(statistics, threshold_algo_from_name(algo), {quant_bits, is_unsigned, hist_percent});
}

}  // namespace

void bind_statistics(py::module_& m) {
  using py::arg;
  py::class_<TensorStatistics>(m, "TensorStatistics",
                               "What calibration remembers of a tensor, in constant memory.")
      .def(py::init<std::uint32_t>(), arg("bins") = TensorStatistics::kDefaultBins)
      .def("update", &update, arg("x"), arg("context") = py::none())
      .def("merge", &TensorStatistics::merge, arg("other"))
      .def("to_bytes", [](const TensorStatistics& s) { return py::bytes(s.to_bytes()); })
      .def_static("from_bytes", &from_bytes, arg("bytes"))
      .def_property_readonly("bins", &TensorStatistics::bins)
      .def_property_readonly("count", &TensorStatistics::count)
      .def_property_readonly("samples", &TensorStatistics::samples)
      .def_property_readonly("min", &TensorStatistics::min)
      .def_property_readonly("max", &TensorStatistics::max)
      .def_property_readonly("abs_max", &TensorStatistics::abs_max)
      .def_property_readonly("average_abs_max", &TensorStatistics::average_abs_max)
      .def_property_readonly("bin_width", &TensorStatistics::bin_width)
      .def_property_readonly("positive_histogram",
                             [](const TensorStatistics& s) { return counts(s.positive_histogram()); })
      .def_property_readonly("negative_histogram",
                             [](const TensorStatistics& s) { return counts(s.negative_histogram()); })
      .def("__eq__",
           [](const TensorStatistics& s, const py::object& other) {
             return py::isinstance<TensorStatistics>(other) && s == py::cast<const TensorStatistics&>(other);
           })
      .def("__repr__",
           [](const TensorStatistics& s) {
             return concatenate("TensorStatistics(count=", s.count(), ", samples=", s.samples(),
                                ", min=", s.min(), ", max=", s.max(), ")");
           })
      .def(py::pickle([](const TensorStatistics& s) { return py::bytes(s.to_bytes()); }, &from_bytes));
  m.def("find_threshold", &py_find_threshold, arg("statistics"), arg("algo"), arg("quant_bits") = 8,
        arg("is_unsigned") = false, arg("hist_percent") = 0.9999);
}

}  // namespace qslim::python
