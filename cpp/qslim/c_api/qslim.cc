// SPDX-License-Identifier: Apache-2.0
#include "qslim/c_api/qslim.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <memory>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "qslim/core/error.h"
#include "qslim/runtime/model/model_file.h"
#include "qslim/runtime/session.h"

using qslim::DType;
using qslim::FormatError;
using qslim::runtime::Dims;
using qslim::runtime::Session;

struct qslim_session {
  Session session;
};

namespace {

thread_local std::string last_error;

qslim_status fail(qslim_status status, const char* message) noexcept {
  try {
    last_error = message;
  } catch (const std::bad_alloc&) {
    last_error.clear();
  }
  return status;
}

// Nothing may be thrown through C.
template <class Call>
qslim_status guarded(const Call& call) noexcept {
  try {
    call();
    return QSLIM_OK;
  } catch (const FormatError& error) {
    return fail(QSLIM_FORMAT_ERROR, error.what());
  } catch (const std::exception& error) {
    return fail(QSLIM_INVALID_ARGUMENT, error.what());
  } catch (...) {
    return fail(QSLIM_INVALID_ARGUMENT, "an unknown error");
  }
}

void require_pointer(const char* function, const void* pointer, const char* name) {
  QSLIM_REQUIRE(pointer != nullptr, function, ": ", name, " is NULL");
}

constexpr std::pair<qslim_dtype, DType> kDTypes[] = {
    {QSLIM_FLOAT32, DType::kFloat32}, {QSLIM_INT8, DType::kInt8},   {QSLIM_UINT8, DType::kUint8},
    {QSLIM_INT32, DType::kInt32},     {QSLIM_INT64, DType::kInt64}, {QSLIM_BOOL, DType::kBool},
};

qslim_dtype c_dtype(DType dtype) {
  return std::find_if(std::begin(kDTypes), std::end(kDTypes),
                      [&](const auto& p) { return p.second == dtype; })
      ->first;
}

const DType* find_dtype(qslim_dtype dtype) noexcept {
  for (const auto& pair : kDTypes) {
    if (pair.first == dtype) return &pair.second;
  }
  return nullptr;
}

Session::Options options_of(const qslim_options* options) {
  Session::Options result;
  if (options == nullptr) return result;
  if (options->num_threads != 0) result.num_threads = options->num_threads;
  if (options->max_memory != 0) result.max_memory = options->max_memory;
  if (options->isa != nullptr) {
    result.isa = qslim::isa_from_name(options->isa);
    QSLIM_REQUIRE(qslim::is_supported(result.isa), "qslim_open: this machine has no ", options->isa);
  }
  return result;
}

void set_tensor(qslim_tensor& tensor, DType dtype, const Dims& dims) {
  QSLIM_REQUIRE(dims.size() <= QSLIM_MAX_RANK, "a tensor of ", dims.size(),
                " axes has more than QSLIM_MAX_RANK");
  tensor.dtype = c_dtype(dtype);
  tensor.rank = dims.size();
  std::copy(dims.begin(), dims.end(), tensor.dims);
}

void describe(const char* function, const std::vector<Session::Signature>& signatures, size_t index,
              qslim_tensor* info) {
  require_pointer(function, info, "info");
  QSLIM_REQUIRE(index < signatures.size(), function, ": there is no tensor ", index, " of ",
                signatures.size());
  const Session::Signature& signature = signatures[index];
  QSLIM_REQUIRE(signature.shape.has_value(), function, ": the model leaves the rank of '", signature.name,
                "' open");
  set_tensor(*info, signature.dtype, *signature.shape);
  info->data = nullptr;
}

const char* name_at(const std::vector<Session::Signature>& signatures, size_t index) noexcept {
  return index < signatures.size() ? signatures[index].name.c_str() : nullptr;
}

std::vector<Dims> dims_of(const char* function, const Session& session, const qslim_tensor* inputs,
                          size_t count) {
  const auto& signatures = session.inputs();
  QSLIM_REQUIRE(count == signatures.size(), function, ": expected ", signatures.size(), " inputs, got ",
                count);
  if (count != 0) require_pointer(function, inputs, "inputs");
  std::vector<Dims> result;
  for (size_t i = 0; i < count; ++i) {
    const DType* dtype = find_dtype(inputs[i].dtype);
    QSLIM_REQUIRE(dtype != nullptr && *dtype == signatures[i].dtype, function, ": input '",
                  signatures[i].name, "' is of ", name_of(signatures[i].dtype), ", and not ",
                  dtype == nullptr ? "a known type" : name_of(*dtype));
    QSLIM_REQUIRE(inputs[i].rank <= QSLIM_MAX_RANK, function, ": input '", signatures[i].name, "' has rank ",
                  inputs[i].rank, ", more than QSLIM_MAX_RANK");
    result.emplace_back(inputs[i].dims, inputs[i].dims + inputs[i].rank);
  }
  return result;
}

std::vector<Session::OutputSpec> specs_of(const char* function, const Session& session,
                                          const std::vector<Dims>& dims, const qslim_tensor* outputs,
                                          size_t count) {
  std::vector<Session::OutputSpec> specs = session.output_specs(dims);
  QSLIM_REQUIRE(count == specs.size(), function, ": expected ", specs.size(), " outputs, got ", count);
  if (count != 0) require_pointer(function, outputs, "outputs");
  return specs;
}

bool has_extents(const qslim_tensor& tensor, const Session::OutputSpec& spec) {
  const DType* dtype = find_dtype(tensor.dtype);
  return dtype != nullptr && *dtype == spec.dtype && tensor.rank == spec.dims.size() &&
         std::equal(spec.dims.begin(), spec.dims.end(), tensor.dims);
}

}  // namespace

const char* qslim_version(void) { return QSLIM_VERSION; }

const char* qslim_last_error(void) { return last_error.c_str(); }

qslim_status qslim_open(const char* path, const qslim_options* options, qslim_session** session) {
  return guarded([&] {
    require_pointer("qslim_open", path, "path");
    require_pointer("qslim_open", session, "session");
    *session = new qslim_session{Session::open(path, options_of(options))};
  });
}

qslim_status qslim_open_bytes(const void* bytes, size_t count, const qslim_options* options,
                              qslim_session** session) {
  return guarded([&] {
    require_pointer("qslim_open_bytes", bytes, "bytes");
    require_pointer("qslim_open_bytes", session, "session");
    const auto* const first = static_cast<const std::byte*>(bytes);
    const auto copy = std::make_shared<const std::vector<std::byte>>(first, first + count);
    *session = new qslim_session{
        Session(qslim::runtime::parse_model({copy->data(), copy->size()}, copy), options_of(options))};
  });
}

void qslim_close(qslim_session* session) { delete session; }

size_t qslim_num_inputs(const qslim_session* session) {
  return session == nullptr ? 0 : session->session.inputs().size();
}

size_t qslim_num_outputs(const qslim_session* session) {
  return session == nullptr ? 0 : session->session.outputs().size();
}

const char* qslim_input_name(const qslim_session* session, size_t index) {
  return session == nullptr ? nullptr : name_at(session->session.inputs(), index);
}

const char* qslim_output_name(const qslim_session* session, size_t index) {
  return session == nullptr ? nullptr : name_at(session->session.outputs(), index);
}

qslim_status qslim_input_info(const qslim_session* session, size_t index, qslim_tensor* info) {
  return guarded([&] {
    require_pointer("qslim_input_info", session, "session");
    describe("qslim_input_info", session->session.inputs(), index, info);
  });
}

qslim_status qslim_output_info(const qslim_session* session, size_t index, qslim_tensor* info) {
  return guarded([&] {
    require_pointer("qslim_output_info", session, "session");
    describe("qslim_output_info", session->session.outputs(), index, info);
  });
}

size_t qslim_tensor_bytes(const qslim_tensor* tensor) {
  if (tensor == nullptr || tensor->rank > QSLIM_MAX_RANK) return 0;
  const DType* dtype = find_dtype(tensor->dtype);
  if (dtype == nullptr) return 0;
  size_t bytes = size_of(*dtype);
  for (size_t i = 0; i < tensor->rank; ++i) {
    if (tensor->dims[i] <= 0) return 0;
    const auto extent = static_cast<size_t>(tensor->dims[i]);
    if (bytes > std::numeric_limits<size_t>::max() / extent) return 0;
    bytes *= extent;
  }
  return bytes;
}

qslim_status qslim_output_shapes(const qslim_session* session, const qslim_tensor* inputs, size_t num_inputs,
                                 qslim_tensor* outputs, size_t num_outputs) {
  return guarded([&] {
    constexpr const char* kName = "qslim_output_shapes";
    require_pointer(kName, session, "session");
    const std::vector<Dims> dims = dims_of(kName, session->session, inputs, num_inputs);
    const auto specs = specs_of(kName, session->session, dims, outputs, num_outputs);
    for (const auto& spec : specs) {
      QSLIM_REQUIRE(spec.dims.size() <= QSLIM_MAX_RANK, kName, ": an output has ", spec.dims.size(), " axes");
    }
    for (size_t i = 0; i < num_outputs; ++i) set_tensor(outputs[i], specs[i].dtype, specs[i].dims);
  });
}

qslim_status qslim_run(const qslim_session* session, const qslim_tensor* inputs, size_t num_inputs,
                       qslim_tensor* outputs, size_t num_outputs) {
  return guarded([&] {
    constexpr const char* kName = "qslim_run";
    require_pointer(kName, session, "session");
    const std::vector<Dims> dims = dims_of(kName, session->session, inputs, num_inputs);
    const auto specs = specs_of(kName, session->session, dims, outputs, num_outputs);
    std::vector<Session::Input> given;
    for (size_t i = 0; i < num_inputs; ++i) {
      if (qslim_tensor_bytes(&inputs[i]) != 0) require_pointer(kName, inputs[i].data, "an input's data");
      given.push_back({inputs[i].data, dims[i]});
    }
    std::vector<void*> results;
    for (size_t i = 0; i < num_outputs; ++i) {
      QSLIM_REQUIRE(has_extents(outputs[i], specs[i]), kName, ": output '",
                    session->session.outputs()[i].name,
                    "' has not the type and extents that qslim_output_shapes gives");
      if (qslim_tensor_bytes(&outputs[i]) != 0) require_pointer(kName, outputs[i].data, "an output's data");
      results.push_back(outputs[i].data);
    }
    session->session.run(given, results);
  });
}
