// SPDX-License-Identifier: Apache-2.0
//
// JSON of a model file, with the type checked at each step. `what` begins the sentence of the FormatError.
// Part of model_file.cc; nothing else includes this.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "qslim/core/error.h"

namespace qslim::runtime {

using Json = nlohmann::json;

template <class... Parts>
[[noreturn]] void fail(const Parts&... parts) {
  throw FormatError(concatenate(parts...));
}

template <class... Parts>
void require(bool condition, const Parts&... parts) {
  if (!condition) fail(parts...);
}

// Parse one JSON object. Refuse keys that are there twice, integers of more than 64 bits and deep nesting.
Json parse_json(const char* begin, const char* end, const char* what);
const Json& member(const Json& object, const char* key, const char* what);
const Json& array(const Json& object, const char* key, const char* what);
std::string text(const Json& value, const char* what);
std::int64_t integer(const Json& value, const char* what);
std::int32_t integer32(const Json& value, const char* what);

}  // namespace qslim::runtime
