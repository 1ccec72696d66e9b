// SPDX-License-Identifier: Apache-2.0
//
// Session: models run by the engine.
#include "qslim/runtime/session.h"

#include <pybind11/stl.h>

#include <cstring>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "bindings.h"
#include "gil.h"
#include "numpy_view.h"
#include "qslim/core/aligned_buffer.h"
#include "qslim/runtime/model/model_file.h"
#include "qslim/runtime/ops/registry.h"

namespace qslim::python {
namespace {

using runtime::Session;

constexpr char kSessionDoc[] =
    "Open a model.\n"
    "\n"
    "Parameters\n"
    "----------\n"
    "source : str or bytes\n"
    "    Path of a .qslim file, or its content.\n"
    "num_threads : int from 1 to 1024, default=1\n"
    "isa : str or None, default=None\n"
    "    One of available_isas(); None: the best one that QSLIM_ISA allows.\n"
    "max_memory : int or None, default=None\n"
    "    Bytes that packed weights and the activations of all kept extents may take; None: 8 GiB.\n"
    "observes : bool, default=False\n"
    "    Show outputs by observe, and do not return them by run.\n"
    "splits_batches : bool, default=True\n"
    "    Run a batch image by image where images do not meet in the network.\n"
    "\n"
    "Raises\n"
    "------\n"
    "FormatError : a file that is damaged or no model.\n"
    "ValueError : a file that cannot be opened, an operator that has no kernel, an unknown isa.\n";
constexpr char kRunDoc[] =
    "Run the model.\n"
    "\n"
    "Parameters\n"
    "----------\n"
    "inputs : list of ndarrays, in the model's order, of its dtypes, C-contiguous\n"
    "\n"
    "Returns\n"
    "-------\n"
    "list of ndarrays, in the model's order.\n"
    "\n"
    "Raises\n"
    "------\n"
    "TypeError : an array of another dtype.\n"
    "ValueError : another number of inputs, extents that the model does not take, too little memory.\n";
constexpr char kObserveDoc[] =
    "Run the model and show each output as soon as it is complete.\n"
    "\n"
    "Parameters\n"
    "----------\n"
    "inputs : list of ndarrays, as for run\n"
    "callback : callable\n"
    "    Called as callback(output, array, image): the output's number, its elements, which cannot be "
    "written\n"
    "    and are there until the call returns, and the image that it belongs to.\n"
    "\n"
    "Raises\n"
    "------\n"
    "TypeError, ValueError : as run.\n"
    "RuntimeError : the callback kept an array.\n"
    "Exceptions of the callback pass through.\n";
constexpr char kProfileDoc[] =
    "Time the steps of a run.\n"
    "\n"
    "Parameters\n"
    "----------\n"
    "inputs : list of ndarrays, as for run\n"
    "runs : int, at least 1\n"
    "\n"
    "Returns\n"
    "-------\n"
    "list of (label, op, kernel, type, reason for float32, multiply-adds, least seconds), one for each "
    "step.\n"
    "\n"
    "Raises\n"
    "------\n"
    "TypeError, ValueError : as run.\n";

runtime::Model model_from_bytes(const py::bytes& bytes) {
  const auto text = static_cast<std::string_view>(bytes);
  auto copy = std::make_shared<AlignedBuffer<std::byte>>(text.size());
  std::memcpy(copy->data(), text.data(), text.size());
  return runtime::parse_model({copy->data(), copy->size()}, copy);
}

std::unique_ptr<Session> make_session(const py::object& source, const py::object& num_threads,
                                      const py::object& isa, const std::optional<std::size_t>& max_memory,
                                      bool observes, bool splits_batches) {
  Session::Options options{thread_count(num_threads, "Session"), isa_of(isa, "Session")};
  if (max_memory) options.max_memory = *max_memory;
  options.observes = observes;
  options.splits_batches = splits_batches;
  if (py::isinstance<py::bytes>(source)) {
    runtime::Model model = model_from_bytes(py::cast<py::bytes>(source));
    const ReleasedGil release;
    return std::make_unique<Session>(std::move(model), options);
  }
  const auto path = py::cast<std::string>(source);
  const ReleasedGil release;
  return std::make_unique<Session>(Session::open(path, options));
}

py::dtype numpy_dtype(DType dtype) { return py::dtype(name_of(dtype)); }

std::vector<py::array> checked_inputs(const Session& session, const std::vector<py::object>& objects) {
  if (objects.size() != session.inputs().size()) {
    throw InvalidArgument(
        concatenate("Session.run: expected ", session.inputs().size(), " inputs, got ", objects.size()));
  }
  std::vector<py::array> arrays;
  for (std::size_t i = 0; i < objects.size(); ++i) {
    const Session::Signature& input = session.inputs()[i];
    arrays.push_back(checked_array(objects[i], input.dtype, "Session.run", input.name.c_str()));
  }
  return arrays;
}

std::vector<Session::Input> views_of(const std::vector<py::array>& arrays) {
  std::vector<Session::Input> views;
  for (const py::array& array : arrays) {
    views.push_back({array.data(), runtime::Dims(array.shape(), array.shape() + array.ndim())});
  }
  return views;
}

std::vector<runtime::Dims> dims_of(const std::vector<Session::Input>& inputs) {
  std::vector<runtime::Dims> dims;
  for (const Session::Input& input : inputs) dims.push_back(input.dims);
  return dims;
}

std::vector<py::array> run(const Session& session, const std::vector<py::object>& objects) {
  const std::vector<py::array> arrays = checked_inputs(session, objects);
  const std::vector<Session::Input> inputs = views_of(arrays);
  std::vector<Session::OutputSpec> specs;
  {
    const ReleasedGil release;
    specs = session.output_specs(dims_of(inputs));
  }
  std::vector<py::array> outputs;
  std::vector<void*> targets;
  for (const Session::OutputSpec& spec : specs) {
    outputs.emplace_back(numpy_dtype(spec.dtype), spec.dims);
    targets.push_back(outputs.back().mutable_data());
  }
  const ReleasedGil release;
  session.run(inputs, {targets.data(), targets.size()});
  return outputs;
}

// An array on memory that is there until the callback returns; numpy owns nothing of it.
py::array lent_array(const Session::Shown& shown) {
  py::array array(numpy_dtype(shown.dtype), shown.dims, shown.data, py::none());
  py::detail::array_proxy(array.ptr())->flags &= ~py::detail::npy_api::NPY_ARRAY_WRITEABLE_;
  return array;
}

void observe(const Session& session, const std::vector<py::object>& objects, const py::function& callback) {
  const std::vector<py::array> arrays = checked_inputs(session, objects);
  const std::vector<Session::Input> inputs = views_of(arrays);
  ReleasedGil release;
  session.observe(inputs, [&](const Session::Shown& shown) {
    const TakenGil taken(release);
    const py::array array = lent_array(shown);
    callback(shown.output, array, shown.image);
    if (array.ref_count() > 1) {
      throw std::runtime_error("Session.observe: the callback kept an array, whose memory is used again");
    }
  });
}

py::tuple observed_shapes(const Session& session, const std::vector<py::object>& objects) {
  const std::vector<runtime::Dims> dims = dims_of(views_of(checked_inputs(session, objects)));
  std::vector<Session::OutputSpec> specs;
  std::size_t images = 1;
  {
    const ReleasedGil release;
    specs = session.output_specs(dims);
    images = session.images_apart(dims);
  }
  py::list shapes;
  for (const Session::OutputSpec& spec : specs) shapes.append(py::tuple(py::cast(spec.dims)));
  return py::make_tuple(shapes, images);
}

py::list profile(const Session& session, const std::vector<py::object>& objects, std::size_t runs) {
  const std::vector<py::array> arrays = checked_inputs(session, objects);
  std::vector<Session::LayerProfile> layers;
  {
    const std::vector<Session::Input> inputs = views_of(arrays);
    const ReleasedGil release;
    layers = session.profile(inputs, runs);
  }
  py::list result;
  for (const Session::LayerProfile& layer : layers) {
    result.append(py::make_tuple(layer.label, layer.op, layer.kernel, layer.type, layer.reason, layer.macs,
                                 layer.seconds));
  }
  return result;
}

py::dict memory(const Session& session) {
  const Session::Memory memory = session.memory();
  py::dict result;
  result["file_bytes"] = memory.file_bytes;
  result["packed_bytes"] = memory.packed_bytes;
  result["arena_bytes"] = memory.arena_bytes;
  result["scratch_bytes"] = memory.scratch_bytes;
  return result;
}

py::list signatures(const std::vector<Session::Signature>& signatures) {
  py::list result;
  for (const Session::Signature& s : signatures) {
    py::object shape = py::none();
    if (s.shape) {
      py::list extents;
      for (const std::int64_t extent : *s.shape) {
        extents.append(extent == runtime::kUnknownExtent ? py::object(py::none()) : py::int_(extent));
      }
      shape = py::tuple(extents);
    }
    result.append(py::make_tuple(s.name, name_of(s.dtype), shape));
  }
  return result;
}

}  // namespace

void bind_session(py::module_& m) {
  using py::arg;
  m.def("operator_names", &runtime::operator_names, "Return the names of the operators that Session runs.");
  m.def("operator_traits", &runtime::operator_traits,
        "Return (name, kind) of the operators that Session runs. The kind says how an operator treats "
        "elements:\n"
        "computes, moves, moves_all, moves_if_nearest or pads.");
  py::class_<Session>(m, "Session", "A model, ready to run.")
      .def(py::init(&make_session), arg("source"), arg("num_threads") = 1, arg("isa") = py::none(),
           arg("max_memory") = py::none(), arg("observes") = false, arg("splits_batches") = true, kSessionDoc)
      .def("run", &run, arg("inputs"), kRunDoc)
      .def("observe", &observe, arg("inputs"), arg("callback"), kObserveDoc)
      .def("observed_shapes", &observed_shapes, arg("inputs"),
           "Return the outputs' shapes for those inputs, and the number of images that observe shows one by\n"
           "one; 1 where it runs the batch at once.")
      .def("profile", &profile, arg("inputs"), arg("runs"), kProfileDoc)
      .def_property_readonly(
          "inputs", [](const Session& s) { return signatures(s.inputs()); },
          "Inputs as (name, dtype, shape); an extent that the model leaves open is None, and so is an "
          "unknown shape.")
      .def_property_readonly(
          "outputs", [](const Session& s) { return signatures(s.outputs()); }, "Outputs, as inputs.")
      .def_property_readonly("num_threads", &Session::num_threads, "Number of threads, as asked for.")
      .def_property_readonly("refused_threads", &Session::refused_threads,
                             "Number of threads that the system did not start; runs go on without them.")
      .def_property_readonly(
          "isa", [](const Session& s) { return std::string(name_of(s.isa())); },
          "Name of the instruction set.")
      .def_property_readonly(
          "memory", &memory,
          "Bytes of the file, of packed weights, of activations and of scratch for all kept extents:\n"
          "a dict of file_bytes, packed_bytes, arena_bytes and scratch_bytes.");
}

}  // namespace qslim::python
