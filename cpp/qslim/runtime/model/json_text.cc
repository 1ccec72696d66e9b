// SPDX-License-Identifier: Apache-2.0
#include "qslim/runtime/model/json_text.h"

#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

namespace qslim::runtime {
namespace {

// Ours nest five deep. The parser takes dozens of bytes for each bracket, so a file of brackets is a bomb.
constexpr std::size_t kMaxDepth = 32;

// Builds a Json and refuses what nlohmann's own builder lets pass: keys that are there twice (it keeps the
// last), integers of more than 64 bits (it makes floats of them), deep nesting. `problem` is empty if there
// is nothing.
class Builder : public nlohmann::json_sax<Json> {
 public:
  Json result;
  std::string problem;

  bool null() override { return add(nullptr); }
  bool boolean(bool value) override { return add(value); }
  bool string(Json::string_t& value) override { return add(std::move(value)); }
  bool binary(Json::binary_t&) override { return false; }
  bool number_integer(Json::number_integer_t value) override { return add(value); }
  bool number_unsigned(Json::number_unsigned_t value) override {
    if (value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
      return refuse_integer(std::to_string(value));
    return add(value);
  }
  bool number_float(Json::number_float_t value, const Json::string_t& digits) override {
    if (digits.find_first_of(".eE") == std::string::npos) return refuse_integer(digits);
    return add(value);
  }
  bool start_object(std::size_t) override { return open(Json::object()); }
  bool start_array(std::size_t) override { return open(Json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(Json::string_t& name) override {
    const auto [place, is_new] = open_.back()->emplace(name, nullptr);
    if (!is_new) problem = concatenate("names a key twice: '", name, "'");
    place_ = &*place;
    return is_new;
  }
  bool parse_error(std::size_t position, const std::string&, const Json::exception&) override {
    problem = concatenate("is no JSON: it breaks off or goes wrong at character ", position);
    return false;
  }

 private:
  bool add(Json value) {
    place(std::move(value));
    return true;
  }
  Json* place(Json value) {
    if (open_.empty()) {
      result = std::move(value);
      return &result;
    }
    if (open_.back()->is_array()) {
      open_.back()->push_back(std::move(value));
      return &open_.back()->back();
    }
    *place_ = std::move(value);
    return place_;
  }
  bool open(Json value) {
    open_.push_back(place(std::move(value)));
    if (open_.size() > kMaxDepth) problem = concatenate("nests more than ", kMaxDepth, " deep");
    return problem.empty();
  }
  bool close() {
    open_.pop_back();
    return true;
  }
  bool refuse_integer(const std::string& digits) {
    problem = concatenate("holds the integer ", digits.substr(0, 30), ", which does not fit 64 bits");
    return false;
  }

  std::vector<Json*> open_;  // objects and arrays; an array grows only while none inside it is open
  Json* place_ = nullptr;    // of the key's value in the innermost object
};

}  // namespace

Json parse_json(const char* begin, const char* end, const char* what) {
  // The parser takes NUL for the end and skips a byte-order mark.
  const bool is_text = std::find(begin, end, '\0') == end && (begin == end || *begin != '\xEF');
  require(is_text, what, " is no JSON: it holds bytes that are no text");
  Builder builder;
  const bool is_json = Json::sax_parse(begin, end, &builder);
  require(is_json && builder.problem.empty(), what, " ", builder.problem);
  require(builder.result.is_object(), what, ": expected a JSON object, got ", builder.result.type_name());
  return std::move(builder.result);
}

const Json& member(const Json& object, const char* key, const char* what) {
  require(object.is_object(), what, " is not a JSON object");
  const auto found = object.find(key);
  require(found != object.end(), what, " has no '", key, "'");
  return *found;
}

const Json& array(const Json& object, const char* key, const char* what) {
  const Json& value = member(object, key, what);
  require(value.is_array(), what, ": '", key, "' is not an array");
  return value;
}

std::string text(const Json& value, const char* what) {
  require(value.is_string(), what, " is not a string");
  return value.get<std::string>();
}

std::int64_t integer(const Json& value, const char* what) {
  require(value.is_number_integer(), what, " is not an integer");
  if (value.is_number_unsigned()) {
    require(value.get<std::uint64_t>() <= std::uint64_t{std::numeric_limits<std::int64_t>::max()}, what,
            " does not fit 64 bits");
  }
  return value.get<std::int64_t>();
}

std::int32_t integer32(const Json& value, const char* what) {
  const std::int64_t wide = integer(value, what);
  require(
      wide >= std::numeric_limits<std::int32_t>::min() && wide <= std::numeric_limits<std::int32_t>::max(),
      what, " does not fit 32 bits");
  return static_cast<std::int32_t>(wide);
}

}  // namespace qslim::runtime
