// SPDX-License-Identifier: Apache-2.0
//
// Attributes of a node, by name and type, with ONNX's defaults supplied by the caller. A value of another
// type than asked for throws InvalidArgument that names the node.
#pragma once

#include <string>
#include <vector>

#include "qslim/core/error.h"
#include "qslim/runtime/model/model.h"

namespace qslim::runtime {

class Attributes {
 public:
  explicit Attributes(const Node& node) : node_(node) {}

  std::int64_t integer(const char* name, std::int64_t fallback) const {
    return get<std::int64_t>(name, fallback);
  }
  std::string text(const char* name, const char* fallback) const { return get<std::string>(name, fallback); }
  // Empty if it is not there.
  std::vector<std::int64_t> integers(const char* name) const {
    return get<std::vector<std::int64_t>>(name, {});
  }
  std::vector<std::string> texts(const char* name) const { return get<std::vector<std::string>>(name, {}); }
  float real(const char* name, double fallback) const {
    const auto found = node_.attributes.find(name);
    if (found == node_.attributes.end()) return static_cast<float>(fallback);
    if (const auto* whole = std::get_if<std::int64_t>(&found->second)) return static_cast<float>(*whole);
    return static_cast<float>(get<double>(name, fallback));
  }

 private:
  template <class T>
  T get(const char* name, T fallback) const {
    const auto found = node_.attributes.find(name);
    if (found == node_.attributes.end()) return fallback;
    const T* value = std::get_if<T>(&found->second);
    QSLIM_REQUIRE(value != nullptr, node_.op_type, " '", node_.label, "': attribute '", name,
                  "' has an unexpected type");
    return *value;
  }

  const Node& node_;
};

}  // namespace qslim::runtime
