// SPDX-License-Identifier: Apache-2.0
//
// Model files with another meaning: a JSON stays JSON, but an attribute, an extent, a type, a scale, an edge
// of the graph changes. For the fuzzer, and for tests that replay some of it with every compiler.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace qslim::test {

using Json = nlohmann::json;

inline constexpr std::int64_t kNumbers[] = {0,
                                            1,
                                            2,
                                            3,
                                            4,
                                            5,
                                            7,
                                            8,
                                            16,
                                            -1,
                                            -2,
                                            -3,
                                            64,
                                            65,
                                            127,
                                            128,
                                            255,
                                            256,
                                            1000,
                                            65535,
                                            65536,
                                            1 << 20,
                                            2147483647,
                                            -2147483648LL,
                                            9223372036854775807LL};

// Every value inside `json`, itself included.
inline void collect(Json& json, std::vector<Json*>& all) {
  all.push_back(&json);
  if (json.is_structured()) {
    for (Json& item : json) collect(item, all);
  }
}

inline Json& pick(Json& json, std::mt19937& random) {
  std::vector<Json*> all;
  collect(json, all);
  return *all[random() % all.size()];
}

inline Json* pick_from(Json& graph, const char* list, std::mt19937& random) {
  const auto found = graph.find(list);
  if (found == graph.end() || !found->is_array() || found->empty()) return nullptr;
  Json& item = (*found)[random() % found->size()];
  return item.is_object() ? &item : nullptr;
}

// A valid file with another meaning: the type, an extent, the scale or the grid of one tensor.
inline void change_tensor(Json& graph, std::mt19937& random) {
  Json* const tensor = pick_from(graph, "tensors", random);
  if (tensor == nullptr) return;
  static const char* const kTypes[] = {"float32", "int8", "uint8", "int32", "int64", "bool"};
  static constexpr double kScales[] = {0x1p-126, 1e-30, 1e-8, 0.007, 0.25, 1, 3, 1e8, 1e30, 0x1p126};
  static constexpr int kGrids[][3] = {{-128, 127, 0},     {-127, 127, 0},   {0, 255, 0}, {0, 255, 255},
                                      {-128, 127, -128},  {-128, 127, 127}, {-7, 8, 3},  {0, 1, 0},
                                      {-32768, 32767, 0}, {0, 65535, 128},  {-1, 1, 1}};
  switch (random() % 4) {
    case 0: (*tensor)["dtype"] = kTypes[random() % std::size(kTypes)]; break;
    case 1:
      if ((*tensor)["shape"].is_array() && !(*tensor)["shape"].empty()) {
        Json& extent = (*tensor)["shape"][random() % (*tensor)["shape"].size()];
        extent = random() % 3 == 0 ? Json() : Json(1 + random() % 9);
      }
      break;
    case 2:
      if (tensor->contains("quantization") && (*tensor)["quantization"].is_object()) {
        Json& scale = (*tensor)["quantization"]["scale"];
        if (scale.is_number()) scale = kScales[random() % std::size(kScales)];
      } else {
        tensor->erase("quantization");
      }
      break;
    case 3: {
      const auto& [qmin, qmax, zero_point] = kGrids[random() % std::size(kGrids)];
      const bool is_wide = qmin < -128 || qmax > 255 || (qmin < 0 && qmax > 127);
      const std::string type = is_wide ? "int16" : "int8";
      Json scale = kScales[random() % std::size(kScales)];
      if (tensor->contains("quantization") && (*tensor)["quantization"].contains("scale"))
        scale = (*tensor)["quantization"]["scale"];
      (*tensor)["quantization"] = {{"dtype", qmin < 0 ? type : "u" + type},
                                   {"scale", scale},
                                   {"zero_point", zero_point},
                                   {"qmin", qmin},
                                   {"qmax", qmax},
                                   {"quant_axis", scale.is_string() ? Json(0) : Json()}};
      break;
    }
  }
}

// Another operand, a cycle, a node twice as often or in another place, one more output.
inline void change_edges(Json& graph, std::mt19937& random) {
  Json* const node = pick_from(graph, "nodes", random);
  Json* const other = pick_from(graph, "nodes", random);
  Json* const tensor = pick_from(graph, "tensors", random);
  if (node == nullptr || other == nullptr || tensor == nullptr || !(*node)["inputs"].is_array()) return;
  Json& inputs = (*node)["inputs"];
  switch (random() % 4) {
    case 0:
      if (!inputs.empty()) inputs[random() % inputs.size()] = (*tensor)["name"];
      break;
    case 1: std::swap(*node, *other); break;
    case 2:
      if (!inputs.empty() && (*node)["outputs"].is_array() && !(*node)["outputs"].empty())
        inputs[random() % inputs.size()] = (*node)["outputs"][0];
      break;
    case 3:
      if (graph["outputs"].is_array()) graph["outputs"].push_back((*tensor)["name"]);
      break;
  }
}

inline void mutate(Json& graph, std::mt19937& random) {
  Json& target = pick(graph, random);
  switch (random() % 11) {
    case 8:
    case 9: change_tensor(graph, random); break;
    case 10: change_edges(graph, random); break;
    case 0: target = pick(graph, random); break;  // another value of this graph
    case 1:
    case 2:
    case 3:
      if (target.is_number_integer()) {
        target = kNumbers[random() % std::size(kNumbers)];
      } else if (target.is_array() && !target.empty()) {
        target[random() % target.size()] = kNumbers[random() % std::size(kNumbers)];
      } else if (target.is_string()) {
        const Json other = pick(graph, random);
        if (other.is_string()) target = other;
      }
      break;
    case 4:
      if (target.is_array() && !target.empty()) target.erase(random() % target.size());
      break;
    case 5:
      if (target.is_array())
        target.push_back(target.empty() ? Json(1) : Json(target[random() % target.size()]));
      break;
    case 6:
      if (target.is_object() && !target.empty()) {
        auto item = target.begin();
        std::advance(item, random() % target.size());
        target.erase(item);
      }
      break;
    case 7: {
      // Another operator on the same operands.
      static const char* const kOperators[] = {
#define QSLIM_OP(Name, movement) #Name,
#include "qslim/runtime/ops/ops.inc"
#undef QSLIM_OP
      };
      auto nodes = graph.find("nodes");
      if (nodes == graph.end() || !nodes->is_array() || nodes->empty()) break;
      Json& node = (*nodes)[random() % nodes->size()];
      if (node.is_object()) node["op_type"] = kOperators[random() % std::size(kOperators)];
      break;
    }
  }
}

// The file with one to three changes; empty where it has no graph to change.
inline std::string changed_file(const std::uint8_t* data, std::size_t size, std::mt19937& random) {
  if (size < 8) return "";
  std::uint64_t length = 0;
  std::memcpy(&length, data, 8);
  if (length > size - 8) return "";
  const auto* text = reinterpret_cast<const char*>(data + 8);
  Json header = Json::parse(text, text + length, nullptr, false);
  if (!header.is_object() || !header["__metadata__"].is_object() ||
      !header["__metadata__"]["graph"].is_string()) {
    return "";
  }
  Json graph = Json::parse(header["__metadata__"]["graph"].get<std::string>(), nullptr, false);
  header["__metadata__"]["graph"] = "";
  if (!graph.is_object()) return "";
  const std::string rest(text + length, reinterpret_cast<const char*>(data + size));
  for (unsigned i = 0; i <= random() % 3; ++i) {
    if (random() % 8 == 0) {
      mutate(header, random);
    } else {
      mutate(graph, random);
    }
  }
  if (!header.is_object() || !header["__metadata__"].is_object()) return "";
  header["__metadata__"]["graph"] = graph.dump(-1, ' ', false, Json::error_handler_t::replace);
  std::string head = header.dump(-1, ' ', false, Json::error_handler_t::replace);
  head.append((64 - (8 + head.size()) % 64) % 64, ' ');
  length = head.size();
  std::string file(8, '\0');
  std::memcpy(file.data(), &length, 8);
  return file + head + rest;
}

}  // namespace qslim::test
