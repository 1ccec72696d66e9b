// SPDX-License-Identifier: Apache-2.0
//
// A network of one node, for tests of operators against numbers worked out by hand or by a loop.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/model_builder.h"
#include "runtime/session_run.h"

namespace qslim::test {

inline const char* name_of_type(float) { return "float32"; }
inline const char* name_of_type(std::int32_t) { return "int32"; }
inline const char* name_of_type(std::int64_t) { return "int64"; }
inline const char* name_of_type(std::uint8_t) { return "bool"; }

// A model of one node over inputs that the caller owns.
class OneNode {
 public:
  template <class T>
  OneNode& in(const Dims& dims, const std::vector<T>& values) {
    const std::string name = "in" + std::to_string(names_.size());
    Dims open = dims;
    if (!open.empty() && is_open_) open[0] = runtime::kUnknownExtent;
    builder_.input(name, open, {}, name_of_type(T{}));
    inputs_.push_back({values.data(), dims});
    names_.push_back(name);
    return *this;
  }
  OneNode& constants(const std::vector<std::int64_t>& values) {
    names_.push_back("constant" + std::to_string(names_.size()));
    builder_.integers(names_.back(), values);
    return *this;
  }
  OneNode& floats(const Dims& dims, const std::vector<float>& values) {
    names_.push_back("constant" + std::to_string(names_.size()));
    builder_.floats(names_.back(), dims, values);
    return *this;
  }
  OneNode& absent() {
    names_.emplace_back();
    return *this;
  }
  // Axis 0 of the inputs is the batch, so that images may run one by one.
  OneNode& batched() {
    is_open_ = true;
    return *this;
  }

  // Return result number `which` of the node.
  template <class T>
  std::vector<T> run(const std::string& op, const Json& attributes = Json::object(), std::size_t which = 0) {
    std::vector<std::string> results;
    for (std::size_t i = 0; i <= which; ++i) results.push_back("out" + std::to_string(i));
    const char* dtype = sizeof(T) == 1 ? "bool" : name_of_type(T{});
    builder_.node(op, names_, results, attributes).output(results.back(), dtype);
    const Session session(builder_.model(), Session::Options{2, default_isa()});
    std::vector<Dims> dims;
    for (const Session::Input& input : inputs_) dims.push_back(input.dims);
    const Session::OutputSpec spec = session.output_specs(dims).at(0);
    EXPECT_EQ(size_of(spec.dtype), sizeof(T));
    std::vector<T> result(count_of(spec.dims));
    std::vector<void*> targets = {result.data()};
    session.run(inputs_, targets);
    return result;
  }

 private:
  ModelBuilder builder_;
  std::vector<Session::Input> inputs_;
  std::vector<std::string> names_;
  bool is_open_ = false;
};

using Bytes = std::vector<std::uint8_t>;
using Floats = std::vector<float>;
using Wide = std::vector<std::int64_t>;
using Narrow = std::vector<std::int32_t>;

}  // namespace qslim::test
