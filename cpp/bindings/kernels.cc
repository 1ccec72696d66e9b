// SPDX-License-Identifier: Apache-2.0
//
// Fake quantization, its learned kinds, quantization, reductions and the histogram.
#include <pybind11/stl.h>

#include <string>

#include "bindings.h"
#include "docstrings.h"
#include "gil.h"
#include "numpy_view.h"
#include "qslim/kernels/fake_quant/fake_quant.h"
#include "qslim/kernels/histogram/histogram.h"
#include "qslim/kernels/learned_quant/learned_quant.h"
#include "qslim/kernels/quantize/quantize.h"
#include "qslim/kernels/reduce/reduce.h"
#include "qslim/kernels/saliency/saliency.h"

namespace qslim::python {
namespace {

using Axis = std::optional<py::ssize_t>;

Rounding rounding_from_name(const std::string& name, const char* function) {
  if (name == "ties_to_even") return Rounding::kTiesToEven;
  if (name == "ties_away") return Rounding::kTiesAway;
  throw InvalidArgument(
      concatenate(function, ": rounding must be 'ties_to_even' or 'ties_away', got '", name, "'"));
}

Gradient gradient_from_name(const std::string& name) {
  if (name == "straight_through") return Gradient::kStraightThrough;
  if (name == "clipped") return Gradient::kClipped;
  throw InvalidArgument(
      concatenate("fake_quant_backward: gradient must be 'straight_through' or 'clipped', got '", name, "'"));
}

// AffineParams and the memory that it views.
struct Affine {
  std::vector<float> scale;
  std::vector<std::int32_t> zero_point;
  AffineParams params;
  Affine(const char* function, const py::object& scale_object, const py::object& zero_point_object,
         std::int32_t qmin, std::int32_t qmax, Rounding rounding)
      : scale(scalar_or_vector<float>(scale_object, function, "scale")),
        zero_point(scalar_or_vector<std::int32_t>(zero_point_object, function, "zero_point")),
        params{scale, zero_point, qmin, qmax, rounding} {}
};

py::array output(const py::object& out, DType dtype, const py::array& input, const char* function) {
  if (!out.is_none()) return checked_output(out, dtype, input, function);
  const Shape shape = shape_of(input);
  switch (dtype) {
    case DType::kInt8: return new_array<std::int8_t>(shape);
    case DType::kUint8: return new_array<std::uint8_t>(shape);
    default: return new_array<float>(shape);
  }
}

py::array py_fake_quant(const py::object& x_object, const py::object& scale, const py::object& zero_point,
                        std::int32_t qmin, std::int32_t qmax, Axis quant_axis, const std::string& rounding,
                        const py::object& out, Context* context) {
  const char* name = "fake_quant";
  const py::array x = checked_array(x_object, DType::kFloat32, name, "x");
  const Affine affine(name, scale, zero_point, qmin, qmax, rounding_from_name(rounding, name));
  const ChannelExtents extents = extents_of(x, quant_axis, name);
  py::array y = output(out, DType::kFloat32, x, name);
  const auto from = view<float>(x);
  const auto to = mutable_view<float>(y);
  CallContext call(context);
  {
    const ReleasedGil release;
    fake_quant(call, from, extents, affine.params, to);
  }
  return y;
}

// x, the gradient of the result, and the array for dx, checked.
struct Backward {
  py::array x, g, dx;
  ChannelExtents extents;
  Backward(const char* name, const py::object& x_object, const py::object& grad_object, Axis quant_axis,
           const py::object& out)
      : x(checked_array(x_object, DType::kFloat32, name, "x")),
        g(checked_array(grad_object, DType::kFloat32, name, "grad")),
        dx(output(out, DType::kFloat32, g, name)),
        extents(extents_of(x, quant_axis, name)) {
    QSLIM_REQUIRE(shape_of(x) == shape_of(g), name, ": grad must have the shape of x");
    if (!out.is_none()) checked_output(out, DType::kFloat32, x, name);
  }
};

py::array py_fake_quant_backward(const py::object& x, const py::object& grad, const py::object& scale,
                                 const py::object& zero_point, std::int32_t qmin, std::int32_t qmax,
                                 Axis quant_axis, const std::string& gradient, const std::string& rounding,
                                 const py::object& out, Context* context) {
  const char* name = "fake_quant_backward";
  Backward b(name, x, grad, quant_axis, out);
  const Affine affine(name, scale, zero_point, qmin, qmax, rounding_from_name(rounding, name));
  const Gradient kind = gradient_from_name(gradient);
  const auto from = view<float>(b.x), upstream = view<float>(b.g);
  const auto to = mutable_view<float>(b.dx);
  CallContext call(context);
  {
    const ReleasedGil release;
    fake_quant_backward(call, from, upstream, b.extents, affine.params, kind, to);
  }
  return b.dx;
}

template <class Q>
py::array quantize_to(const py::array& x, const Affine& affine, const ChannelExtents& extents,
                      const py::object& out, Context* context) {
  py::array q = output(out, DTypeOf<Q>::value, x, "quantize");
  const auto from = view<float>(x);
  const auto to = mutable_view<Q>(q);
  CallContext call(context);
  {
    const ReleasedGil release;
    quantize<Q>(call, from, extents, affine.params, to);
  }
  return q;
}

py::array py_quantize(const py::object& x_object, const py::object& scale, const py::object& zero_point,
                      std::int32_t qmin, std::int32_t qmax, Axis quant_axis, const std::string& rounding,
                      const py::object& out, Context* context) {
  const char* name = "quantize";
  const py::array x = checked_array(x_object, DType::kFloat32, name, "x");
  const Affine affine(name, scale, zero_point, qmin, qmax, rounding_from_name(rounding, name));
  const ChannelExtents extents = extents_of(x, quant_axis, name);
  return qmin < 0 ? quantize_to<std::int8_t>(x, affine, extents, out, context)
                  : quantize_to<std::uint8_t>(x, affine, extents, out, context);
}

template <class Q>
py::array dequantize_from(const py::array& q, const py::object& scale, const py::object& zero_point,
                          Axis quant_axis, const py::object& out, Context* context) {
  constexpr std::int32_t kLeast = std::numeric_limits<Q>::min(), kLargest = std::numeric_limits<Q>::max();
  const Affine affine("dequantize", scale, zero_point, kLeast, kLargest, Rounding::kTiesToEven);
  const ChannelExtents extents = extents_of(q, quant_axis, "dequantize");
  py::array y = output(out, DType::kFloat32, q, "dequantize");
  const auto from = view<Q>(q);
  const auto to = mutable_view<float>(y);
  CallContext call(context);
  {
    const ReleasedGil release;
    dequantize<Q>(call, from, extents, affine.params, to);
  }
  return y;
}

py::array py_dequantize(const py::object& q_object, const py::object& scale, const py::object& zero_point,
                        Axis quant_axis, const py::object& out, Context* context) {
  if (py::isinstance<py::array>(q_object) &&
      py::reinterpret_borrow<py::array>(q_object).dtype().equal(py::dtype("uint8"))) {
    return dequantize_from<std::uint8_t>(checked_array(q_object, DType::kUint8, "dequantize", "q"), scale,
                                         zero_point, quant_axis, out, context);
  }
  return dequantize_from<std::int8_t>(checked_array(q_object, DType::kInt8, "dequantize", "q"), scale,
                                      zero_point, quant_axis, out, context);
}

// Return one number for the whole tensor, an array for channels.
template <class T>
py::object per_channel(const std::vector<T>& values, Axis quant_axis) {
  if (quant_axis) return array_of(values);
  return py::float_(static_cast<double>(values[0]));
}

template <class T, class Reduce>
py::object reduced(const char* name, const py::object& x_object, Axis quant_axis, Context* context,
                   Reduce reduce) {
  const py::array x = checked_array(x_object, DType::kFloat32, name, "x");
  const ChannelExtents extents = extents_of(x, quant_axis, name);
  std::vector<T> result(extents.channels);
  const auto from = view<float>(x);
  CallContext call(context);
  {
    const ReleasedGil release;
    reduce(call, from, extents, Span<T>(result));
  }
  return per_channel(result, quant_axis);
}

py::tuple py_pact_backward(const py::object& x, const py::object& grad, const py::object& threshold_object,
                           bool is_unsigned, Axis quant_axis, const py::object& out, Context* context) {
  Backward b("pact_backward", x, grad, quant_axis, out);
  const auto threshold = scalar_or_vector<float>(threshold_object, "pact_backward", "threshold");
  std::vector<double> dthreshold(b.extents.channels);
  const auto from = view<float>(b.x), upstream = view<float>(b.g);
  const auto to = mutable_view<float>(b.dx);
  CallContext call(context);
  {
    const ReleasedGil release;
    pact_backward(call, from, upstream, b.extents, threshold, is_unsigned, to, dthreshold);
  }
  return py::make_tuple(b.dx, per_channel(dthreshold, quant_axis));
}

py::tuple py_lsq_backward(const py::object& x, const py::object& grad, const py::object& scale,
                          const py::object& zero_point, std::int32_t qmin, std::int32_t qmax, Axis quant_axis,
                          const py::object& out, Context* context) {
  Backward b("lsq_backward", x, grad, quant_axis, out);
  const Affine affine("lsq_backward", scale, zero_point, qmin, qmax, Rounding::kTiesToEven);
  std::vector<double> dscale(b.extents.channels), doffset(b.extents.channels);
  const auto from = view<float>(b.x), upstream = view<float>(b.g);
  const auto to = mutable_view<float>(b.dx);
  CallContext call(context);
  {
    const ReleasedGil release;
    lsq_backward(call, from, upstream, b.extents, affine.params, to, dscale, doffset);
  }
  return py::make_tuple(b.dx, per_channel(dscale, quant_axis), per_channel(doffset, quant_axis));
}

SaliencyCriterion criterion_from_name(const std::string& name) {
  if (name == "l1_norm") return SaliencyCriterion::kL1Norm;
  if (name == "l2_norm") return SaliencyCriterion::kL2Norm;
  if (name == "fpgm") return SaliencyCriterion::kFpgm;
  if (name == "taylor") return SaliencyCriterion::kTaylor;
  throw InvalidArgument(concatenate(
      "filter_saliency: criterion must be one of l1_norm, l2_norm, fpgm, taylor, got '", name, "'"));
}

py::array py_filter_saliency(const py::object& weight_object, const std::string& criterion_name,
                             py::ssize_t axis, const py::object& gradient_object, Context* context) {
  const char* name = "filter_saliency";
  const SaliencyCriterion criterion = criterion_from_name(criterion_name);
  const py::array weight = checked_array(weight_object, DType::kFloat32, name, "weight");
  const ChannelExtents extents = extents_of(weight, axis, name);
  py::array gradient;
  Span<const float> slopes;
  if (!gradient_object.is_none()) {
    gradient = checked_array(gradient_object, DType::kFloat32, name, "gradient");
    QSLIM_REQUIRE(shape_of(gradient) == shape_of(weight), name, ": gradient must have the shape of weight");
    slopes = view<float>(gradient);
  }
  py::array scores = new_array<float>({extents.channels});
  const auto from = view<float>(weight);
  const auto to = mutable_view<float>(scores);
  CallContext call(context);
  {
    const ReleasedGil release;
    filter_saliency(call, from, slopes, extents, criterion, to);
  }
  return scores;
}

py::tuple py_min_max(const py::object& x_object, Axis quant_axis, Context* context) {
  const py::array x = checked_array(x_object, DType::kFloat32, "min_max", "x");
  const ChannelExtents extents = extents_of(x, quant_axis, "min_max");
  std::vector<float> low(extents.channels), high(extents.channels);
  const auto from = view<float>(x);
  CallContext call(context);
  {
    const ReleasedGil release;
    min_max(call, from, extents, low, high);
  }
  return py::make_tuple(per_channel(low, quant_axis), per_channel(high, quant_axis));
}

py::tuple py_histogram(const py::object& x_object, std::uint32_t bins, float lo, float hi, Context* context) {
  const py::array x = checked_array(x_object, DType::kFloat32, "histogram", "x");
  const auto from = view<float>(x);
  CallContext call(context);
  std::vector<std::uint64_t> counts;
  {
    const ReleasedGil release;
    counts = histogram(call, from, bins, lo, hi);
  }
  return py::make_tuple(array_of(counts), array_of(histogram_edges(bins, lo, hi)));
}

}  // namespace

void bind_kernels(py::module_& m) {
  using py::arg;
  const py::none none;
  m.def("fake_quant", &py_fake_quant, arg("x"), arg("scale"), arg("zero_point"), arg("qmin"), arg("qmax"),
        arg("quant_axis") = none, arg("rounding") = "ties_to_even", arg("out") = none, arg("context") = none,
        doc::kFakeQuant);
  m.def("fake_quant_backward", &py_fake_quant_backward, arg("x"), arg("grad"), arg("scale"),
        arg("zero_point"), arg("qmin"), arg("qmax"), arg("quant_axis") = none, arg("gradient") = "clipped",
        arg("rounding") = "ties_to_even", arg("out") = none, arg("context") = none, doc::kFakeQuantBackward);
  m.def("pact_backward", &py_pact_backward, arg("x"), arg("grad"), arg("threshold"),
        arg("is_unsigned") = false, arg("quant_axis") = none, arg("out") = none, arg("context") = none,
        doc::kPactBackward);
  m.def("lsq_backward", &py_lsq_backward, arg("x"), arg("grad"), arg("scale"), arg("zero_point"), arg("qmin"),
        arg("qmax"), arg("quant_axis") = none, arg("out") = none, arg("context") = none, doc::kLsqBackward);
  m.def("filter_saliency", &py_filter_saliency, arg("weight"), arg("criterion"), arg("axis") = 0,
        arg("gradient") = none, arg("context") = none, doc::kFilterSaliency);
  m.def("quantize", &py_quantize, arg("x"), arg("scale"), arg("zero_point"), arg("qmin"), arg("qmax"),
        arg("quant_axis") = none, arg("rounding") = "ties_to_even", arg("out") = none, arg("context") = none,
        doc::kQuantize);
  m.def("dequantize", &py_dequantize, arg("q"), arg("scale"), arg("zero_point"), arg("quant_axis") = none,
        arg("out") = none, arg("context") = none, doc::kDequantize);
  m.def(
      "abs_max",
      [](const py::object& x, Axis quant_axis, Context* context) {
        return reduced<float>("abs_max", x, quant_axis, context, abs_max);
      },
      arg("x"), arg("quant_axis") = none, arg("context") = none, doc::kAbsMax);
  m.def("min_max", &py_min_max, arg("x"), arg("quant_axis") = none, arg("context") = none, doc::kMinMax);
  m.def(
      "sum",
      [](const py::object& x, Axis quant_axis, Context* context) {
        return reduced<double>("sum", x, quant_axis, context, sum);
      },
      arg("x"), arg("quant_axis") = none, arg("context") = none, doc::kSum);
  m.def(
      "sum_of_squares",
      [](const py::object& x, Axis quant_axis, Context* context) {
        return reduced<double>("sum_of_squares", x, quant_axis, context, sum_of_squares);
      },
      arg("x"), arg("quant_axis") = none, arg("context") = none, doc::kSumOfSquares);
  m.def("histogram", &py_histogram, arg("x"), arg("bins"), arg("lo"), arg("hi"), arg("context") = none,
        doc::kHistogram);
}

}  // namespace qslim::python
