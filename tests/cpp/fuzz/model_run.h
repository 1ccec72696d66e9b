// SPDX-License-Identifier: Apache-2.0
//
// One run of the fuzzer and of the replay of its corpus: read them as a model, compile it for small
// inputs, and run it where that is cheap. Returns what stopped it: "", or the message of a FormatError or an
// InvalidArgument. Nothing else may come out of any bytes, and no result that depends on how it was run.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "qslim/core/error.h"
#include "qslim/runtime/compile/compile.h"
#include "qslim/runtime/compile/inference.h"
#include "qslim/runtime/model/model_file.h"
#include "qslim/runtime/session.h"

namespace qslim::test {

// Above these a run may take long without anything being wrong.
inline constexpr std::int64_t kMostMacs = 1 << 24;
inline constexpr std::size_t kMostBytes = 1 << 22;

// Extents for a run: open ones are `images` (axis 0) or 5.
inline runtime::Dims small_extents(const runtime::Tensor& input, std::int64_t images) {
  runtime::Dims dims = input.shape ? *input.shape : runtime::Dims{images, 4};
  for (std::size_t i = 0; i < dims.size(); ++i) {
    if (dims[i] == runtime::kUnknownExtent) dims[i] = i == 0 ? images : 5;
  }
  return dims;
}

// True if a run on these inputs takes little time and memory; throws what compiling throws.
inline bool is_cheap(const runtime::Model& model, const std::vector<runtime::Dims>& dims) {
  std::vector<runtime::TensorFacts> facts = runtime::infer(model, dims);
  std::size_t bytes = 0;
  for (const runtime::TensorFacts& fact : facts) {
    bytes += static_cast<std::size_t>(runtime::element_count(fact.dims)) * size_of(fact.dtype);
  }
  if (bytes > kMostBytes) return false;
  runtime::WeightCache weights;
  const runtime::Plan plan =
      runtime::compile(model, std::move(facts), Isa::kScalar, /*num_threads=*/1, weights);
  std::int64_t macs = 0;
  for (const runtime::Step& step : plan.steps) macs += std::min(step.macs, kMostMacs);
  return macs <= kMostMacs && plan.arena_bytes + plan.scratch_bytes <= 4 * kMostBytes;
}

using Results = std::vector<std::vector<std::byte>>;

// Bytes that are floats of all kinds, and integers.
inline std::vector<std::byte> any_values(DType dtype, std::size_t count) {
  std::vector<std::byte> bytes(count * size_of(dtype));
  for (std::size_t b = 0; b < bytes.size(); ++b) bytes[b] = static_cast<std::byte>(b * 37);
  return bytes;
}

// The outputs of a run on inputs of those extents.
inline Results run_on(const runtime::Session& session, const std::vector<runtime::Dims>& dims,
                      std::vector<std::byte> (*values)(DType, std::size_t) = any_values) {
  Results arrays, results;
  std::vector<runtime::Session::Input> inputs;
  for (std::size_t i = 0; i < dims.size(); ++i) {
    const auto count = static_cast<std::size_t>(runtime::element_count(dims[i]));
    arrays.push_back(values(session.inputs()[i].dtype, count));
    inputs.push_back({arrays.back().data(), dims[i]});
  }
  std::vector<void*> targets;
  for (const runtime::Session::OutputSpec& spec : session.output_specs(dims)) {
    results.emplace_back(static_cast<std::size_t>(runtime::element_count(spec.dims)) * size_of(spec.dtype));
    targets.push_back(results.back().data());
  }
  session.run(inputs, targets);
  return results;
}

// On every instruction set that the machine has, and with one thread and three: one result, to the bit.
// Throws std::logic_error where there are two.
inline std::string run_model_bytes(const std::uint8_t* data, std::size_t size) {
  // A copy of exactly that size: a read past its end is seen.
  const auto owner = std::make_shared<std::vector<std::byte>>(size);
  if (size != 0) std::memcpy(owner->data(), data, size);
  try {
    const runtime::Model model = runtime::parse_model({owner->data(), owner->size()}, owner);
    std::vector<runtime::Dims> one, two;
    for (const int id : model.inputs) {
      one.push_back(small_extents(model.tensors[static_cast<std::size_t>(id)], 1));
      two.push_back(small_extents(model.tensors[static_cast<std::size_t>(id)], 2));
    }
    if (model.nodes.size() > 256 || !is_cheap(model, one)) return "too large to run";
    const bool two_is_cheap = two != one && [&] {
      try {
        return is_cheap(model, two);
      } catch (const InvalidArgument&) {
        return false;
      }
    }();
    std::vector<runtime::Session::Options> ways;
    for (const Isa isa : available_isas()) ways.push_back({/*num_threads=*/1, isa});
    ways.push_back({/*num_threads=*/3, available_isas().back()});
    std::vector<Results> first;
    for (const runtime::Session::Options& way : ways) {
      const runtime::Session session(model, way);
      std::vector<Results> results = {run_on(session, one)};
      if (two_is_cheap) results.push_back(run_on(session, two));
      if (first.empty()) first = results;
      if (results != first) {
        throw std::logic_error(concatenate("another result with ", way.num_threads, " threads on ",
                                           name_of(way.isa), " than with one thread on scalar"));
      }
    }
  } catch (const FormatError& error) {
    return error.what();
  } catch (const InvalidArgument& error) {
    return error.what();
  }
  return "";
}

}  // namespace qslim::test
