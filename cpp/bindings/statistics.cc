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

double py_quantization_error(const TensorStatistics& statistics, float scale, std::int32_t zero_point,
                             std::int32_t qmin, std::int32_t qmax) {
  const ReleasedGil release;
  return quantization_error(statistics, {scale, zero_point, qmin, qmax});
}

void bind_class(py::module_& m) {
  using py::arg;
  py::class_<TensorStatistics>(
      m, "TensorStatistics",
      "Range, mean largest magnitude and histogram of a tensor over batches, in constant memory.")
      .def(py::init<std::uint32_t>(), arg("bins") = TensorStatistics::kDefaultBins,
           "Begin with no elements; `bins` of each sign are a power of two in [64, 16384], else ValueError.")
      .def("update", &update, arg("x"), arg("context") = py::none(),
           "Add a batch.\n"
           "\n"
           "Parameters\n"
           "----------\n"
           "x : ndarray of float32, C-contiguous\n"
           "    Axis 0 counts the samples; an array of less than two dimensions is one sample.\n"
           "context : Context or None, default=None\n"
           "    None: one thread, the best instruction set that QSLIM_ISA allows.\n"
           "\n"
           "Raises\n"
           "------\n"
           "ValueError : x holds NaN or infinity; the statistics are unchanged.\n")
      .def("merge", &TensorStatistics::merge, arg("other"),
           "Add all that `other` has seen. ValueError if it has another number of bins.")
      .def(
          "to_bytes", [](const TensorStatistics& s) { return py::bytes(s.to_bytes()); },
          "Return the statistics as bytes, for from_bytes.")
      .def_static(
          "from_bytes", &from_bytes, arg("bytes"),
          "Return the statistics that to_bytes wrote. FormatError, which is a ValueError, for other bytes.")
      .def_property_readonly("bins", &TensorStatistics::bins, "Number of bins for each sign.")
      .def_property_readonly("count", &TensorStatistics::count, "Number of elements.")
      .def_property_readonly("samples", &TensorStatistics::samples, "Number of samples.")
      .def_property_readonly("min", &TensorStatistics::min, "The least element; 0 before the first update.")
      .def_property_readonly("max", &TensorStatistics::max, "The largest element; 0 before the first update.")
      .def_property_readonly("abs_max", &TensorStatistics::abs_max, "The largest magnitude.")
      .def_property_readonly("average_abs_max", &TensorStatistics::average_abs_max,
                             "Mean over the samples of the sample's largest magnitude.")
      .def_property_readonly("bin_width", &TensorStatistics::bin_width, "Width of a bin of the histograms.")
      .def_property_readonly(
          "positive_histogram", [](const TensorStatistics& s) { return counts(s.positive_histogram()); },
          "Counts of elements >= 0 by magnitude: ndarray of uint64 of shape (bins,), the first bin from 0.")
      .def_property_readonly(
          "negative_histogram", [](const TensorStatistics& s) { return counts(s.negative_histogram()); },
          "Counts of elements < 0 by magnitude, as positive_histogram.")
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
}

}  // namespace

void bind_statistics(py::module_& m) {
  using py::arg;
  bind_class(m);
  m.def("find_threshold", &py_find_threshold, arg("statistics"), arg("algo"), arg("quant_bits") = 8,
        arg("is_unsigned") = false, arg("hist_percent") = 0.9999,
        "Return the largest magnitude worth keeping, the threshold.\n"
        "\n"
        "Parameters\n"
        "----------\n"
        "statistics : TensorStatistics\n"
        "algo : {'abs_max', 'avg', 'hist', 'KL', 'mse', 'emd', 'ptf', 'min_max'}\n"
        "quant_bits : int in [2, 16], default=8\n"
        "is_unsigned : bool, default=False\n"
        "    Judge candidates on the integers from 0 to 2**quant_bits - 1.\n"
        "hist_percent : float in (0, 1], default=0.9999\n"
        "    For 'hist': the share of the elements to keep.\n"
        "\n"
        "Returns\n"
        "-------\n"
        "float > 0; 1e-8 for a tensor of zeros.\n"
        "\n"
        "Raises\n"
        "------\n"
        "ValueError : an unknown algo; quant_bits or hist_percent outside of their ranges.\n");
  m.def("quantization_error", &py_quantization_error, arg("statistics"), arg("scale"), arg("zero_point"),
        arg("qmin"), arg("qmax"),
        "Return the mean squared error that quantization makes on what the statistics have seen.\n"
        "\n"
        "Parameters\n"
        "----------\n"
        "statistics : TensorStatistics\n"
        "scale : float > 0\n"
        "zero_point, qmin, qmax : int, qmin <= zero_point <= qmax\n"
        "\n"
        "Raises\n"
        "------\n"
        "ValueError : no data was seen, or the parameters cannot be.\n");
}

}  // namespace qslim::python
