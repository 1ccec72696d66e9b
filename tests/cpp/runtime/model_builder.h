// SPDX-License-Identifier: Apache-2.0
//
// ModelBuilder: writes the bytes of model files, right ones and, through `graph` and `header`, wrong ones.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "qslim/core/qparams.h"
#include "qslim/runtime/model/model_file.h"

namespace qslim::test {

using Json = nlohmann::json;
using runtime::Dims;

inline Json shape_json(const Dims& dims) {
  Json shape = Json::array();
  for (const std::int64_t extent : dims)
    shape.push_back(extent == runtime::kUnknownExtent ? Json() : Json(extent));
  return shape;
}

class ModelBuilder {
 public:
  // The graph's JSON, open to whatever a test wants to break.
  Json graph = {{"format_version", 1},      {"producer", "test"},       {"inputs", Json::array()},
                {"outputs", Json::array()}, {"tensors", Json::array()}, {"nodes", Json::array()}};

  ModelBuilder& tensor(const std::string& name, std::optional<Dims> shape = {},
                       std::optional<QParams> params = {}, const char* dtype = "float32") {
    Json json = {{"name", name}, {"dtype", dtype}, {"shape", shape ? shape_json(*shape) : Json()}};
    if (params) json["quantization"] = quantization(*params, Json(params->scale), Json());
    graph["tensors"].push_back(json);
    names_[name] = true;
    return *this;
  }

  ModelBuilder& input(const std::string& name, std::optional<Dims> shape, std::optional<QParams> params = {},
                      const char* dtype = "float32") {
    graph["inputs"].push_back(name);
    return tensor(name, std::move(shape), params, dtype);
  }

  ModelBuilder& output(const std::string& name, const char* dtype = nullptr) {
    graph["outputs"].push_back(name);
    for (Json& tensor : graph["tensors"]) {
      if (dtype != nullptr && tensor["name"] == name) tensor["dtype"] = dtype;
    }
    return *this;
  }

  ModelBuilder& floats(const std::string& name, const Dims& shape, const std::vector<float>& values) {
    tensor(name, shape);
    add_entry(name, "F32", shape, values);
    return *this;
  }

  ModelBuilder& integers(const std::string& name, const std::vector<std::int64_t>& values) {
    const Dims shape = {static_cast<std::int64_t>(values.size())};
    tensor(name, shape, {}, "int64");
    add_entry(name, "I64", shape, values);
    return *this;
  }

  // An int8 weight with one scale per entry of `axis`.
  ModelBuilder& weights(const std::string& name, const Dims& shape, const std::vector<std::int8_t>& values,
                        const std::vector<float>& scale, std::size_t axis = 0) {
    tensor(name, shape);
    graph["tensors"].back()["quantization"] =
        quantization(QParams{1, 0, -127, 127}, Json(name + "//scale"), Json(axis));
    add_entry(name, "I8", shape, values);
    add_entry(name + "//scale", "F32", {static_cast<std::int64_t>(scale.size())}, scale);
    return *this;
  }

  // A matrix of integers in [-8, 7], two a byte, in groups of `group_size` (0: none) along the other axis than
  // that of its scales, which are a matrix too where there are groups.
  ModelBuilder& packed_weights(const std::string& name, const Dims& shape,
                               const std::vector<std::int8_t>& values, const Dims& scale_shape,
                               const std::vector<float>& scale, std::size_t axis, std::int64_t group_size) {
    tensor(name, shape);
    Json json = quantization(QParams{1, 0, -8, 7}, Json(name + "//scale"), Json(axis));
    json["packed_bits"] = 4;
    if (group_size != 0) json["group_size"] = group_size;
    graph["tensors"].back()["quantization"] = json;
    graph["format_version"] = 2;
    const auto width = static_cast<std::size_t>(shape[1]);
    std::vector<std::uint8_t> bytes;
    for (std::size_t i = 0; i < values.size(); ++i) {
      const int half = values[i] & 15;
      if (i % width % 2 == 0) {
        bytes.push_back(static_cast<std::uint8_t>(half));
      } else {
        bytes.back() = static_cast<std::uint8_t>(bytes.back() | half << 4);
      }
    }
    add_entry(name, "U8", {shape[0], (shape[1] + 1) / 2}, bytes);
    add_entry(name + "//scale", "F32", scale_shape, scale);
    return *this;
  }

  // Outputs that have no tensor yet get one, of unknown shape.
  ModelBuilder& node(const std::string& op, const std::vector<std::string>& inputs,
                     const std::vector<std::string>& outputs, Json attributes = Json::object()) {
    for (const std::string& name : outputs) {
      if (!name.empty() && names_.count(name) == 0) tensor(name);
    }
    graph["nodes"].push_back({{"op_type", op},
                              {"domain", ""},
                              {"inputs", inputs},
                              {"outputs", outputs},
                              {"attributes", std::move(attributes)},
                              {"label", op + " of a test"}});
    return *this;
  }

  Json& attributes(std::size_t node) { return graph["nodes"][node]["attributes"]; }

  Json header() const {
    Json header = Json::object();
    for (const Stored& entry : in_order()) header[entry.name] = entry.json;
    header["__metadata__"] = {{"format", "qslim"}, {"graph", graph.dump()}};
    return header;
  }
  std::string data() const {
    std::string data;
    for (const Stored& entry : in_order()) data += entry.bytes;
    return data;
  }

  static std::vector<std::byte> file_of(const std::string& header, const std::string& data) {
    std::string text = header;
    text.append((64 - (8 + text.size()) % 64) % 64, ' ');
    std::vector<std::byte> bytes(8 + text.size() + data.size());
    const std::uint64_t length = text.size();
    std::memcpy(bytes.data(), &length, 8);
    std::memcpy(bytes.data() + 8, text.data(), text.size());
    if (!data.empty()) std::memcpy(bytes.data() + 8 + text.size(), data.data(), data.size());
    return bytes;
  }
  std::vector<std::byte> file() const { return file_of(header().dump(), data()); }

  runtime::Model model() const {
    const auto owner = std::make_shared<const std::vector<std::byte>>(file());
    return runtime::parse_model({owner->data(), owner->size()}, owner);
  }

 private:
  static Json quantization(const QParams& params, const Json& scale, const Json& axis) {
    const bool is_wide = params.qmin < 0 ? params.qmin < -128 || params.qmax > 127 : params.qmax > 255;
    const std::string width = is_wide ? "int16" : "int8";
    return {{"dtype", params.qmin < 0 ? width : "u" + width},
            {"scale", scale},
            {"zero_point", params.zero_point},
            {"qmin", params.qmin},
            {"qmax", params.qmax},
            {"quant_axis", axis}};
  }

  template <class T>
  void add_entry(const std::string& name, const char* dtype, const Dims& shape,
                 const std::vector<T>& values) {
    Stored entry{name, {{"dtype", dtype}, {"shape", shape_json(shape)}}, "", sizeof(T)};
    if (!values.empty())
      entry.bytes.assign(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
    entries_.push_back(std::move(entry));
  }

  struct Stored {
    std::string name;
    Json json;
    std::string bytes;
    std::size_t item_size;
  };

  // Wide items first, end to end.
  std::vector<Stored> in_order() const {
    std::vector<Stored> entries = entries_;
    std::stable_sort(entries.begin(), entries.end(),
                     [](const Stored& a, const Stored& b) { return a.item_size > b.item_size; });
    std::size_t position = 0;
    for (Stored& entry : entries) {
      entry.json["data_offsets"] = {position, position + entry.bytes.size()};
      position += entry.bytes.size();
    }
    return entries;
  }

  std::vector<Stored> entries_;
  std::map<std::string, bool> names_;
};

}  // namespace qslim::test
