// SPDX-License-Identifier: Apache-2.0
//
// Reads the safetensors container, then the graph inside it, then checks the whole.
#include "qslim/runtime/model/model_file.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <unordered_map>
#include <utility>

#include "qslim/core/error.h"
#include "qslim/core/qparams.h"
#include "qslim/runtime/model/mapped_file.h"

namespace qslim::runtime {
namespace {

using Json = nlohmann::json;

constexpr std::int64_t kFormatVersion = 1;
constexpr std::size_t kMaxHeader = std::size_t{100} << 20;  // safetensors' own limit
constexpr std::size_t kMaxRank = 8;
// Larger extents and sizes are damage, and their products would not fit.
constexpr std::int64_t kMaxExtent = std::int64_t{1} << 31;
constexpr std::uint64_t kMaxElements = std::uint64_t{1} << 40;

template <class... Parts>
[[noreturn]] void fail(const Parts&... parts) {
  throw FormatError(concatenate("model file: ", parts...));
}

template <class... Parts>
void require(bool condition, const Parts&... parts) {
  if (!condition) fail(parts...);
}

// ---- JSON, with the type checked at each step
// ---------------------------------------------------------------

// Ours nest five deep. The parser takes dozens of bytes for each bracket, so a file of brackets is a bomb.
constexpr int kMaxDepth = 32;

int depth_of(const char* begin, const char* end) {
  int depth = 0, deepest = 0;
  bool in_text = false;
  for (const char* c = begin; c != end; ++c) {
    if (in_text) {
      if (*c == '\\' && c + 1 != end)
        ++c;
      else if (*c == '"')
        in_text = false;
    } else if (*c == '"') {
      in_text = true;
    } else if (*c == '[' || *c == '{') {
      deepest = std::max(deepest, ++depth);
    } else if (*c == ']' || *c == '}') {
      --depth;
    }
  }
  return deepest;
}

Json parse_json(const char* begin, const char* end, const char* what) {
  require(depth_of(begin, end) <= kMaxDepth, what, " nests more than ", kMaxDepth, " deep");
  Json json = Json::parse(begin, end, nullptr, /*allow_exceptions=*/false);
  require(json.is_object(), what, " is not a JSON object");
  return json;
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

// ---- the container
// --------------------------------------------------------------------------------------------

struct Entry {
  std::string dtype;
  std::vector<std::size_t> shape;
  Span<const std::byte> bytes;
};

std::size_t item_size(const std::string& dtype) {
  static const std::unordered_map<std::string, std::size_t> kSizes = {{"F32", 4}, {"I8", 1},  {"U8", 1},
                                                                      {"I32", 4}, {"I64", 8}, {"BOOL", 1}};
  const auto found = kSizes.find(dtype);
  require(found != kSizes.end(), "entry type '", dtype, "' is not one of F32, I8, U8, I32, I64, BOOL");
  return found->second;
}

using Entries = std::unordered_map<std::string, Entry>;

Entry read_entry(const Json& json, Span<const std::byte> data) {
  constexpr const char* kWhat = "tensor entry";
  Entry entry;
  entry.dtype = text(member(json, "dtype", kWhat), "entry dtype");
  const std::size_t size = item_size(entry.dtype);
  // Extents beside a 0 count as well: products of some of the extents shall fit, too.
  std::uint64_t elements = 1, others = 1;
  require(array(json, "shape", kWhat).size() <= kMaxRank, "an entry has more than ", kMaxRank, " axes");
  for (const Json& extent : array(json, "shape", kWhat)) {
    const std::int64_t value = integer(extent, "extent");
    require(value >= 0 && value < kMaxExtent, "entry extent ", value, " is out of range");
    entry.shape.push_back(static_cast<std::size_t>(value));
    elements *= static_cast<std::uint64_t>(value);
    others *= static_cast<std::uint64_t>(std::max<std::int64_t>(value, 1));
    require(others <= kMaxElements, "an entry has more than 2^40 elements");
  }
  const Json& offsets = array(json, "data_offsets", kWhat);
  require(offsets.size() == 2, "data_offsets are not two numbers");
  const std::int64_t begin = integer(offsets[0], "data offset"), end = integer(offsets[1], "data offset");
  require(begin >= 0 && begin <= end && static_cast<std::uint64_t>(end) <= data.size(), "data offsets [",
          begin, ", ", end, ") lie outside the ", data.size(), " bytes of data; is the file truncated?");
  require(static_cast<std::uint64_t>(end - begin) == elements * size, "an entry of ", elements,
          " elements of ", size, " bytes has ", end - begin, " bytes of data");
  entry.bytes = data.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin));
  require(reinterpret_cast<std::uintptr_t>(entry.bytes.data()) % size == 0,
          "an entry's data are not aligned to its type");
  return entry;
}

// ---- the graph
// ------------------------------------------------------------------------------------------------

DType dtype_from_name(const std::string& name) {
  for (const DType dtype :
       {DType::kFloat32, DType::kInt8, DType::kUint8, DType::kInt32, DType::kInt64, DType::kBool}) {
    if (name == name_of(dtype)) return dtype;
  }
  fail("tensor type '", name, "' is not one of float32, int8, uint8, int32, int64, bool");
}

const char* entry_type(DType dtype) noexcept {
  switch (dtype) {
    case DType::kFloat32: return "F32";
    case DType::kInt8: return "I8";
    case DType::kUint8: return "U8";
    case DType::kInt32: return "I32";
    case DType::kInt64: return "I64";
    case DType::kBool: return "BOOL";
  }
  return "?";
}

std::vector<float> read_scale(const Json& json, const Entries& entries) {
  std::vector<float> scale;
  if (json.is_number()) {
    scale.push_back(static_cast<float>(json.get<double>()));
  } else {
    const auto found = entries.find(text(json, "scale"));
    require(found != entries.end(), "a scale names an entry that is not there");
    require(found->second.dtype == "F32" && found->second.shape.size() == 1, "scales are not an F32 vector");
    scale.resize(found->second.shape[0]);
    if (!scale.empty()) std::memcpy(scale.data(), found->second.bytes.data(), found->second.bytes.size());
  }
  require(!scale.empty(), "a quantized tensor has no scale");
  for (const float value : scale) {
    require(std::isfinite(value) && value >= kMinScale && value <= kMaxScale, "scale ", value,
            " is out of range");
  }
  return scale;
}

Quantization read_quantization(const Json& json, const Entries& entries) {
  constexpr const char* kWhat = "quantization";
  Quantization q;
  q.scale = read_scale(member(json, "scale", kWhat), entries);
  q.zero_point = integer32(member(json, "zero_point", kWhat), "zero_point");
  q.qmin = integer32(member(json, "qmin", kWhat), "qmin");
  q.qmax = integer32(member(json, "qmax", kWhat), "qmax");
  require(q.qmin >= -kMaxGrid && q.qmax <= kMaxGrid && q.qmin < q.qmax, "grid [", q.qmin, ", ", q.qmax,
          "] is out of range");
  require(q.qmin <= q.zero_point && q.zero_point <= q.qmax, "zero point ", q.zero_point,
          " lies outside its grid");
  const Json& axis = member(json, "quant_axis", kWhat);
  if (!axis.is_null()) {
    const std::int64_t value = integer(axis, "quant_axis");
    require(value >= 0 && value < static_cast<std::int64_t>(kMaxRank), "quant_axis ", value,
            " is out of range");
    q.quant_axis = static_cast<std::size_t>(value);
  } else {
    require(q.scale.size() == 1, "several scales without a quant_axis");
  }
  return q;
}

void attach_data(Tensor& tensor, const Entry& entry) {
  DType stored = tensor.dtype;
  if (tensor.quantization && tensor.quantization->fits_a_byte()) {
    stored = tensor.quantization->is_unsigned() ? DType::kUint8 : DType::kInt8;
  }
  require(entry.dtype == entry_type(stored), "constant '", tensor.name, "' should be stored as ",
          entry_type(stored), ", its entry is ", entry.dtype);
  const bool is_right =
      tensor.shape && tensor.shape->size() == entry.shape.size() &&
      std::equal(entry.shape.begin(), entry.shape.end(), tensor.shape->begin(),
                 [](std::size_t a, std::int64_t b) { return static_cast<std::int64_t>(a) == b; });
  require(is_right, "constant '", tensor.name, "' and its entry differ in shape");
  static const std::byte kNothing{};
  tensor.data = entry.bytes.empty() ? &kNothing : entry.bytes.data();
}

Tensor read_tensor(const Json& json, const Entries& entries) {
  Tensor tensor;
  tensor.name = text(member(json, "name", "tensor"), "tensor name");
  require(!tensor.name.empty(), "a tensor has no name");
  tensor.dtype = dtype_from_name(text(member(json, "dtype", "tensor"), "tensor dtype"));
  const Json& shape = member(json, "shape", "tensor");
  if (!shape.is_null()) {
    require(shape.is_array() && shape.size() <= kMaxRank, "tensor '", tensor.name,
            "': shape is not an array of at most ", kMaxRank, " extents");
    tensor.shape.emplace();
    for (const Json& extent : shape) {
      const std::int64_t value = extent.is_null() ? kUnknownExtent : integer(extent, "extent");
      require(extent.is_null() || (value >= 0 && value < kMaxExtent), "tensor '", tensor.name, "': extent ",
              value, " is out of range");
      tensor.shape->push_back(value);
    }
  }
  const auto quantization = json.find("quantization");
  if (quantization != json.end() && !quantization->is_null()) {
    require(tensor.dtype == DType::kFloat32, "tensor '", tensor.name, "' is quantized but not float32");
    tensor.quantization = read_quantization(*quantization, entries);
    const auto& axis = tensor.quantization->quant_axis;
    if (axis) {
      require(tensor.shape && *axis < tensor.shape->size() &&
                  (*tensor.shape)[*axis] == static_cast<std::int64_t>(tensor.quantization->scale.size()),
              "tensor '", tensor.name, "' does not have one scale for each channel");
    }
  }
  const auto entry = entries.find(tensor.name);
  if (entry != entries.end()) attach_data(tensor, entry->second);
  require(tensor.is_constant() || !tensor.quantization || !tensor.quantization->quant_axis, "activation '",
          tensor.name, "' has a scale per channel");
  return tensor;
}

Attribute read_list(const Json& json) {
  bool all_integers = true, all_numbers = true, all_strings = true;
  for (const Json& item : json) {
    all_integers = all_integers && item.is_number_integer();
    all_numbers = all_numbers && item.is_number();
    all_strings = all_strings && item.is_string();
  }
  if (all_integers) {
    std::vector<std::int64_t> values;
    for (const Json& item : json) values.push_back(integer(item, "attribute"));
    return values;
  }
  if (all_numbers) return json.get<std::vector<double>>();
  require(all_strings, "an attribute's list is neither of numbers nor of strings");
  return json.get<std::vector<std::string>>();
}

Attribute read_attribute(const Json& json) {
  if (json.is_boolean()) return std::int64_t{json.get<bool>()};
  if (json.is_number_integer()) return integer(json, "attribute");
  if (json.is_number()) return json.get<double>();
  if (json.is_string()) return json.get<std::string>();
  require(json.is_array(), "an attribute is neither a number, a string nor a list");
  return read_list(json);
}

class GraphReader {
 public:
  GraphReader(const Json& json, const Entries& entries) : json_(json), entries_(entries) {}

  Model read() {
    const std::int64_t version = integer(member(json_, "format_version", kWhat), "format_version");
    require(version == kFormatVersion, "format version ", version, ", this program reads ", kFormatVersion);
    for (const Json& tensor : array(json_, "tensors", kWhat)) {
      model_.tensors.push_back(read_tensor(tensor, entries_));
      const bool is_new =
          index_.emplace(model_.tensors.back().name, static_cast<int>(model_.tensors.size() - 1)).second;
      require(is_new, "tensor '", model_.tensors.back().name, "' is there twice");
    }
    has_value_.assign(model_.tensors.size(), false);
    for (std::size_t i = 0; i < model_.tensors.size(); ++i) has_value_[i] = model_.tensors[i].is_constant();
    model_.inputs = references(array(json_, "inputs", kWhat));
    for (const int input : model_.inputs) define(input, "an input");
    for (const Json& node : array(json_, "nodes", kWhat)) model_.nodes.push_back(read_node(node));
    model_.outputs = references(array(json_, "outputs", kWhat));
    require(!model_.outputs.empty(), "the graph has no outputs");
    for (const int output : model_.outputs) use(output, "an output");
    return std::move(model_);
  }

 private:
  static constexpr const char* kWhat = "graph";

  std::vector<int> references(const Json& names) const {
    std::vector<int> result;
    for (const Json& item : names) {
      const std::string name = text(item, "tensor reference");
      if (name.empty()) {
        result.push_back(kAbsent);
        continue;
      }
      const auto found = index_.find(name);
      require(found != index_.end(), "tensor '", name, "' is referred to but not there");
      result.push_back(found->second);
    }
    return result;
  }

  void define(int tensor, const char* what) {
    require(tensor != kAbsent, what, " has no name");
    const auto i = static_cast<std::size_t>(tensor);
    require(!has_value_[i], "tensor '", model_.tensors[i].name, "' gets its value twice");
    has_value_[i] = true;
  }

  void use(int tensor, const char* what) const {
    require(tensor != kAbsent, what, " has no name");
    const auto i = static_cast<std::size_t>(tensor);
    require(has_value_[i], "tensor '", model_.tensors[i].name, "' is used before it has a value");
  }

  Node read_node(const Json& json) {
    Node node;
    node.op_type = text(member(json, "op_type", "node"), "op_type");
    node.domain = text(member(json, "domain", "node"), "domain");
    const auto label = json.find("label");
    if (label != json.end()) node.label = text(*label, "label");
    node.inputs = references(array(json, "inputs", "node"));
    node.outputs = references(array(json, "outputs", "node"));
    require(!node.outputs.empty(), "node '", node.op_type, "' has no outputs");
    for (const int input : node.inputs) {
      if (input != kAbsent) use(input, "an input");
    }
    for (const int output : node.outputs) {
      if (output != kAbsent) define(output, "an output");
    }
    const Json& attributes = member(json, "attributes", "node");
    require(attributes.is_object(), "node '", node.op_type, "': attributes are not an object");
    for (const auto& item : attributes.items()) node.attributes[item.key()] = read_attribute(item.value());
    return node;
  }

  const Json& json_;
  const Entries& entries_;
  Model model_;
  std::unordered_map<std::string, int> index_;
  std::vector<bool> has_value_;
};

}  // namespace

Model parse_model(Span<const std::byte> bytes, std::shared_ptr<const void> owner) {
  require(bytes.size() >= 8, "expected at least 8 bytes, got ", bytes.size());
  std::uint64_t header_size = 0;
  for (std::size_t i = 8; i-- > 0;) header_size = header_size << 8 | static_cast<std::uint64_t>(bytes[i]);
  require(header_size <= bytes.size() - 8 && header_size <= kMaxHeader, "its header should have ",
          header_size, " bytes, but the file has ", bytes.size(), "; is it a model file, and whole?");
  const auto* text_begin = reinterpret_cast<const char*>(bytes.data() + 8);
  const Json header = parse_json(text_begin, text_begin + header_size, "the header");
  const auto data_begin = static_cast<std::size_t>(8 + header_size);
  const Span<const std::byte> data = bytes.subspan(data_begin, bytes.size() - data_begin);

  const Json& metadata = member(header, "__metadata__", "the header");
  const std::string graph_text = text(member(metadata, "graph", "__metadata__"), "the graph");
  Entries entries;
  for (const auto& item : header.items()) {
    if (item.key() != "__metadata__") entries.emplace(item.key(), read_entry(item.value(), data));
  }
  const Json graph = parse_json(graph_text.data(), graph_text.data() + graph_text.size(), "the graph");
  Model model = GraphReader(graph, entries).read();
  model.storage = std::move(owner);
  model.file_bytes = bytes.size();
  return model;
}

Model load_model(const std::string& path) {
  auto file = std::make_shared<const MappedFile>(path);
  const Span<const std::byte> bytes = file->bytes();
  try {
    return parse_model(bytes, std::move(file));
  } catch (const FormatError& error) {
    throw FormatError(concatenate("'", path, "': ", error.what()));
  }
}

}  // namespace qslim::runtime
