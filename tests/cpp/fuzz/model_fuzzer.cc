// SPDX-License-Identifier: Apache-2.0
//
// libFuzzer on model files: `make fuzz`. The seeds are the models of write_seeds.cc.
//
// A file has two lengths and a JSON inside a JSON, which random bytes hardly keep intact; the custom mutator
// changes the graph, its attributes or a tensor's entry and writes a whole file around it again.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "fuzz/model_run.h"

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size);

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  qslim::test::run_model_bytes(data, size, qslim::Isa::kScalar);
  return 0;
}

namespace {

using Json = nlohmann::json;

constexpr std::int64_t kNumbers[] = {0,
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
void collect(Json& json, std::vector<Json*>& all) {
  all.push_back(&json);
  if (json.is_structured()) {
    for (Json& item : json) collect(item, all);
  }
}

Json& pick(Json& json, std::mt19937& random) {
  std::vector<Json*> all;
  collect(json, all);
  return *all[random() % all.size()];
}

void mutate(Json& graph, std::mt19937& random) {
  Json& target = pick(graph, random);
  switch (random() % 8) {
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
#define QSLIM_OP(Name) #Name,
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

}  // namespace

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t max_size,
                                               unsigned seed) {
  std::mt19937 random(seed);
  if (size < 8 || random() % 8 == 0) return LLVMFuzzerMutate(data, size, max_size);
  std::uint64_t length = 0;
  std::memcpy(&length, data, 8);
  if (length > size - 8) return LLVMFuzzerMutate(data, size, max_size);
  const auto* text = reinterpret_cast<const char*>(data + 8);
  Json header = Json::parse(text, text + length, nullptr, false);
  if (!header.is_object() || !header["__metadata__"].is_object() ||
      !header["__metadata__"]["graph"].is_string()) {
    return LLVMFuzzerMutate(data, size, max_size);
  }
  Json graph = Json::parse(header["__metadata__"]["graph"].get<std::string>(), nullptr, false);
  header["__metadata__"]["graph"] = "";
  if (!graph.is_object()) return LLVMFuzzerMutate(data, size, max_size);
  const std::string rest(text + length, reinterpret_cast<const char*>(data + size));
  for (unsigned i = 0; i <= random() % 3; ++i) {
    if (random() % 8 == 0) {
      mutate(header, random);
    } else {
      mutate(graph, random);
    }
  }
  if (!header.is_object() || !header["__metadata__"].is_object())
    return LLVMFuzzerMutate(data, size, max_size);
  header["__metadata__"]["graph"] = graph.dump(-1, ' ', false, Json::error_handler_t::replace);
  std::string head = header.dump(-1, ' ', false, Json::error_handler_t::replace);
  head.append((64 - (8 + head.size()) % 64) % 64, ' ');
  if (8 + head.size() + rest.size() > max_size) return LLVMFuzzerMutate(data, size, max_size);
  length = head.size();
  std::memcpy(data, &length, 8);
  std::memcpy(data + 8, head.data(), head.size());
  if (!rest.empty()) std::memcpy(data + 8 + head.size(), rest.data(), rest.size());
  return 8 + head.size() + rest.size();
}
