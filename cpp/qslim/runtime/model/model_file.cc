// SPDX-License-Identifier: Apache-2.0
//
// Reads the safetensors container, then the graph inside it, then checks the whole: the rules of
// docs/engine.md in the order of the bytes.
#include "qslim/runtime/model/model_file.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <unordered_map>
#include <utility>

#include "qslim/core/error.h"
#include "qslim/core/qparams.h"
#include "qslim/runtime/model/json_text.h"
#include "qslim/runtime/model/mapped_file.h"

namespace qslim::runtime {
namespace {

constexpr std::int64_t kFormatVersion = 2;
constexpr std::size_t kMaxHeader = 100000000;  // safetensors' own limit
constexpr std::size_t kMaxRank = 8;
// Larger extents and sizes are damage, and their products would not fit.
constexpr std::int64_t kMaxExtent = std::int64_t{1} << 31;
constexpr std::uint64_t kMaxElements = std::uint64_t{1} << 40;

// ---- the container ----

struct Entry {
  std::string dtype;
  std::vector<std::size_t> shape;
  Span<const std::byte> bytes;
  bool is_used = false;  // by a tensor
};

std::size_t item_size(const std::string& dtype) {
  static const auto& kSizes = *new std::unordered_map<std::string, std::size_t>{
      {"F32", 4}, {"I8", 1}, {"U8", 1}, {"I32", 4}, {"I64", 8}, {"BOOL", 1}};
  const auto found = kSizes.find(dtype);
  return found == kSizes.end() ? 0 : found->second;
}

using Entries = std::unordered_map<std::string, Entry>;

// Return true if `object` has these keys and so many other ones.
bool has_keys(const Json& object, std::initializer_list<const char*> keys, std::size_t others = 0) {
  return object.is_object() && object.size() == keys.size() + others &&
         std::all_of(keys.begin(), keys.end(), [&](const char* key) { return object.contains(key); });
}

std::string text_of(const std::vector<std::size_t>& shape) {
  std::string text = "[";
  for (const std::size_t extent : shape) text += concatenate(text.size() > 1 ? ", " : "", extent);
  return text + "]";
}

Entry read_entry(const std::string& name, const Json& json, Span<const std::byte> data, std::size_t start) {
  const std::string what = concatenate("entry '", name, "'");
  require(has_keys(json, {"dtype", "shape", "data_offsets"}), what,
          ": expected dtype, shape and data_offsets");
  Entry entry;
  entry.dtype = text(json["dtype"], "entry dtype");
  const std::size_t size = item_size(entry.dtype);
  require(size != 0, what, ": unknown dtype '", entry.dtype,
          "'; this program reads F32, I8, U8, I32, I64 and BOOL");
  // Extents beside a 0 count as well: products of some of the extents must fit, too.
  std::uint64_t elements = 1, others = 1;
  const Json& shape = array(json, "shape", what.c_str());
  require(shape.size() <= kMaxRank, what, ": the engine takes at most ", kMaxRank, " axes");
  for (const Json& extent : shape) {
    require(extent.is_number_integer() && integer(extent, "extent") >= 0, what,
            ", shape: expected a list of integers >= 0");
    const std::int64_t value = integer(extent, "extent");
    require(value < kMaxExtent, what, ": extent ", value, " is more than the engine takes");
    entry.shape.push_back(static_cast<std::size_t>(value));
    elements *= static_cast<std::uint64_t>(value);
    others *= static_cast<std::uint64_t>(std::max<std::int64_t>(value, 1));
    require(others <= kMaxElements, what, ": the engine takes at most 2^40 elements");
  }
  const Json& offsets = array(json, "data_offsets", what.c_str());
  require(offsets.size() == 2, what, ": data_offsets should be two numbers");
  const std::int64_t begin = integer(offsets[0], "data offset"), end = integer(offsets[1], "data offset");
  require(begin >= 0 && begin <= end && static_cast<std::uint64_t>(end) <= data.size(), what, " lies at [",
          begin, ", ", end, "), but the file has ", data.size(), " bytes of data: it was cut short");
  require(static_cast<std::uint64_t>(end - begin) == elements * size, what, ": shape ", text_of(entry.shape),
          " of ", entry.dtype, " takes ", elements * size, " bytes, got ", end - begin);
  require(begin == end || (start + static_cast<std::size_t>(begin)) % size == 0, what,
          ": its data should start at a multiple of ", size, " bytes");
  entry.bytes = data.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin));
  if (entry.dtype == "BOOL") {
    require(std::all_of(entry.bytes.data(), entry.bytes.data() + entry.bytes.size(),
                        [](std::byte b) { return b <= std::byte{1}; }),
            what, ": a bool must be 0 or 1");
  }
  return entry;
}

// The entries that `header` describes, which must cover `data` exactly, in any order.
Entries read_entries(const Json& header, Span<const std::byte> data, std::size_t start) {
  struct Place {
    std::size_t begin, end;
    std::string name;
  };
  Entries entries;
  std::vector<Place> places;
  for (const auto& item : header.items()) {
    if (item.key() == "__metadata__") continue;
    const Entry entry = read_entry(item.key(), item.value(), data, start);
    if (entry.bytes.size() != 0) {
      const auto begin = static_cast<std::size_t>(entry.bytes.data() - data.data());
      places.push_back({begin, begin + entry.bytes.size(), item.key()});
    }
    entries.emplace(item.key(), entry);
  }
  std::sort(places.begin(), places.end(), [](const Place& a, const Place& b) { return a.begin < b.begin; });
  std::size_t position = 0;
  for (const Place& place : places) {
    require(place.begin == position, "entry '", place.name, "' starts at ", place.begin,
            ", but the one before ends at ", position);
    position = place.end;
  }
  require(position == data.size(), "the entries end at ", position, ", but there are ", data.size(),
          " bytes of data");
  return entries;
}

// ---- the graph ----

DType dtype_from_name(const std::string& name, const std::string& what) {
  for (const DType dtype :
       {DType::kFloat32, DType::kInt8, DType::kUint8, DType::kInt32, DType::kInt64, DType::kBool}) {
    if (name == name_of(dtype)) return dtype;
  }
  fail(what, ": unknown dtype '", name, "'; this program reads float32, int8, uint8, int32, int64 and bool");
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

// With groups the scales are a matrix.
std::vector<float> read_scale(const Json& json, const std::string& what, Entries& entries, std::size_t axes) {
  std::vector<float> scale;
  if (json.is_number()) {
    scale.push_back(static_cast<float>(json.get<double>()));
  } else {
    const std::string name = text(json, "scale");
    const auto found = entries.find(name);
    require(found != entries.end() && found->second.dtype == "F32" && found->second.shape.size() == axes,
            what, ": its scales '", name, "' should be a stored float32 entry of ",
            axes == 1 ? "one axis" : "two axes");
    found->second.is_used = true;
    scale.resize(found->second.bytes.size() / sizeof(float));
    if (!scale.empty()) std::memcpy(scale.data(), found->second.bytes.data(), found->second.bytes.size());
  }
  require(!scale.empty(), what, ": it has no scale");
  for (const float value : scale) {
    require(std::isfinite(value) && value > 0, what, ": scale must be finite and > 0, got ", value);
    require(value >= kMinScale && value <= kMaxScale, what, ": scale must be in [2^-126, 2^126], got ",
            value);
  }
  return scale;
}

// Return the smallest integer type that holds [qmin, qmax].
const char* integer_type(const Quantization& q) {
  if (q.fits_a_byte()) return q.is_unsigned() ? "uint8" : "int8";
  if (q.is_unsigned()) return q.qmax <= 65535 ? "uint16" : "uint32";
  return q.qmin >= -32768 && q.qmax <= 32767 ? "int16" : "int32";
}

Quantization read_quantization(const Json& json, const std::string& what, Entries& entries) {
  const bool has_groups = json.is_object() && json.contains("group_size");
  const std::size_t optional = (has_groups ? 1u : 0u) + (json.contains("packed_bits") ? 1u : 0u);
  require(has_keys(json, {"dtype", "scale", "zero_point", "qmin", "qmax", "quant_axis"}, optional), what,
          ": quantization needs dtype, scale, zero_point, qmin, qmax and quant_axis");
  Quantization q;
  if (has_groups) {
    const std::int64_t size = integer(json["group_size"], "group_size");
    require(size > 0 && size % 2 == 0 && size < kMaxExtent, what, ": group_size should be even and > 0, got ",
            size);
    require(json["scale"].is_string(), what, ": groups need stored scales");
    q.group_size = static_cast<std::size_t>(size);
  }
  q.scale = read_scale(json["scale"], what, entries, has_groups ? 2 : 1);
  q.zero_point = integer32(json["zero_point"], "zero_point");
  q.qmin = integer32(json["qmin"], "qmin");
  q.qmax = integer32(json["qmax"], "qmax");
  require(q.qmin <= q.zero_point && q.zero_point <= q.qmax, what, ": zero_point ", q.zero_point,
          " lies outside [", q.qmin, ", ", q.qmax, "]");
  require(q.qmin >= -kMaxGrid && q.qmax <= kMaxGrid && q.qmin < q.qmax, what, ": grid [", q.qmin, ", ",
          q.qmax, "] should have two integers or more, of at most 2^17");
  const std::string dtype = text(json["dtype"], "quantization dtype");
  require(dtype == integer_type(q), what, ": its grid is one of ", integer_type(q), ", not '", dtype, "'");
  const Json& axis = json["quant_axis"];
  require(json["scale"].is_string() != axis.is_null(), what,
          ": one scale needs quant_axis null, several an axis");
  if (!axis.is_null()) {
    const std::int64_t value = integer(axis, "quant_axis");
    require(value >= 0 && value < static_cast<std::int64_t>(kMaxRank), what, ": bad quant_axis ", value);
    q.quant_axis = static_cast<std::size_t>(value);
  }
  return q;
}

// Return the shape of the tensor's entry.
std::optional<Dims> stored_shape(const Tensor& tensor) {
  std::optional<Dims> shape = tensor.shape;
  if (tensor.is_packed && shape && !shape->empty()) shape->back() = (shape->back() + 1) / 2;
  return shape;
}

// Two integers of 4 bits a byte; what is left of a row's last byte is 0.
void check_packed(const Tensor& tensor, const Entry& entry, const std::string& what) {
  const Quantization& q = *tensor.quantization;
  require(entry.dtype == "U8", what, ": packed integers are U8, got ", entry.dtype);
  const auto width = static_cast<std::size_t>(tensor.shape->back()), row = (width + 1) / 2;
  for (std::size_t i = 0; i < entry.bytes.size(); ++i) {
    const int both = static_cast<int>(static_cast<std::uint8_t>(entry.bytes.data()[i]));
    const int low = ((both & 15) ^ 8) - 8, high = ((both >> 4) ^ 8) - 8;
    const bool is_padded = width % 2 != 0 && i % row == row - 1;
    const bool is_inside = low >= q.qmin && low <= q.qmax && high >= q.qmin && high <= q.qmax;
    require(is_inside && (!is_padded || high == 0), what, ": an integer lies outside [", q.qmin, ", ", q.qmax,
            "]");
  }
}

void attach_data(Tensor& tensor, Entry& entry, const std::string& what) {
  entry.is_used = true;
  const std::optional<Dims> shape = stored_shape(tensor);
  const bool is_right =
      shape && shape->size() == entry.shape.size() &&
      std::equal(entry.shape.begin(), entry.shape.end(), shape->begin(),
                 [](std::size_t a, std::int64_t b) { return static_cast<std::int64_t>(a) == b; });
  require(is_right, what, " has another shape than its entry, ", text_of(entry.shape));
  const bool is_stored_in_bytes = tensor.quantization && tensor.quantization->fits_a_byte();
  if (tensor.is_packed) {
    check_packed(tensor, entry, what);
  } else if (is_stored_in_bytes) {
    const Quantization& q = *tensor.quantization;
    require(entry.dtype == (q.is_unsigned() ? "U8" : "I8"), what, ": integers of dtype ", integer_type(q),
            " expected, got ", entry.dtype);
    const bool is_inside =
        std::all_of(entry.bytes.data(), entry.bytes.data() + entry.bytes.size(), [&](std::byte b) {
          const int integer = q.is_unsigned() ? static_cast<int>(static_cast<std::uint8_t>(b))
                                              : static_cast<int>(static_cast<std::int8_t>(b));
          return integer >= q.qmin && integer <= q.qmax;
        });
    require(is_inside, what, ": an integer lies outside [", q.qmin, ", ", q.qmax, "]");
  } else {
    require(entry.dtype == entry_type(tensor.dtype), what, ": dtype ", name_of(tensor.dtype),
            " expected, its entry has ", entry.dtype);
  }
  static const std::byte kNothing{};
  tensor.data = entry.bytes.empty() ? &kNothing : entry.bytes.data();
}

// `stored` is the shape of the scales' entry.
void check_scales(const Tensor& tensor, const std::vector<std::size_t>& stored, const std::string& what) {
  const Quantization& q = *tensor.quantization;
  const std::size_t axis = *q.quant_axis;
  bool fits = tensor.shape && axis < tensor.shape->size();
  if (fits && q.group_size != 0) {
    std::vector<std::size_t> expected(tensor.shape->begin(), tensor.shape->end());
    fits = expected.size() == 2;
    if (fits) expected[1 - axis] = q.groups_of(expected[1 - axis]);
    fits = fits && expected == stored;
  } else if (fits) {
    fits = (*tensor.shape)[axis] == static_cast<std::int64_t>(q.scale.size());
  }
  require(fits, what, ": ", q.scale.size(), " scales along axis ", axis, " do not fit its shape");
}

Tensor read_tensor(const Json& json, Entries& entries) {
  Tensor tensor;
  tensor.name = text(member(json, "name", "tensor"), "tensor name");
  require(!tensor.name.empty(), "a tensor's name should be a string that is not empty");
  const std::string what = concatenate("tensor '", tensor.name, "'");
  const auto quantization = json.find("quantization");
  require(json.size() <= (quantization == json.end() ? 3u : 4u), what, ": unknown keys");
  tensor.dtype = dtype_from_name(text(member(json, "dtype", "tensor"), "tensor dtype"), what);
  const Json& shape = member(json, "shape", "tensor");
  if (!shape.is_null()) {
    require(shape.is_array(), what, ": expected a list as shape");
    require(shape.size() <= kMaxRank, what, ": the engine takes at most ", kMaxRank, " axes");
    tensor.shape.emplace();
    for (const Json& extent : shape) {
      require(extent.is_null() || (extent.is_number_integer() && integer(extent, "extent") >= 0), what,
              ", shape: expected a list of integers >= 0");
      const std::int64_t value = extent.is_null() ? kUnknownExtent : integer(extent, "extent");
      require(value < kMaxExtent, what, ": extent ", value, " is more than the engine takes");
      tensor.shape->push_back(value);
    }
  }
  if (quantization != json.end()) {
    tensor.quantization = read_quantization(*quantization, what, entries);
    require(tensor.dtype == DType::kFloat32, what, " is quantized, so its dtype must be float32, got '",
            name_of(tensor.dtype), "'");
    if (tensor.quantization->quant_axis) {
      check_scales(tensor, entries.at(text((*quantization)["scale"], "scale")).shape, what);
    }
    tensor.is_packed = quantization->contains("packed_bits");
    if (tensor.is_packed) {
      require(integer((*quantization)["packed_bits"], "packed_bits") == 4, what, ": packed_bits should be 4");
      require(tensor.quantization->fits_half_a_byte() && tensor.shape && !tensor.shape->empty(), what,
              ": only integers in [-8, 7] are packed");
    }
  }
  const auto entry = entries.find(tensor.name);
  if (entry != entries.end()) attach_data(tensor, entry->second, what);
  require(tensor.is_constant() || !tensor.quantization || !tensor.quantization->quant_axis, what,
          ": only a constant may have a scale for each channel");
  return tensor;
}

Attribute read_list(const Json& json, const std::string& label, const std::string& key) {
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
  require(all_strings, label, ": attribute '", key, "' has no valid value: neither numbers nor strings");
  return json.get<std::vector<std::string>>();
}

Attribute read_attribute(const Json& json, const std::string& label, const std::string& key) {
  if (json.is_number_integer()) return integer(json, "attribute");
  if (json.is_number()) return json.get<double>();
  if (json.is_string()) return json.get<std::string>();
  const bool is_list = json.is_array() && std::none_of(json.begin(), json.end(), [](const Json& item) {
                         return item.is_structured() || item.is_null() || item.is_boolean();
                       });
  require(is_list, label, ": attribute '", key, "' has no valid value");
  return read_list(json, label, key);
}

class GraphReader {
 public:
  GraphReader(const Json& json, Entries& entries) : json_(json), entries_(entries) {}

  Model read() {
    const std::int64_t version = integer(member(json_, "format_version", kWhat), "format_version");
    require(version <= kFormatVersion, "the file has format version ", version, ", this qslim reads up to ",
            kFormatVersion, ": install a newer qslim, or export the model again");
    require(version >= 1, "format_version: expected 1 to ", kFormatVersion, ", got ", version);
    for (const Json& tensor : array(json_, "tensors", kWhat)) {
      model_.tensors.push_back(read_tensor(tensor, entries_));
      const bool is_new =
          index_.emplace(model_.tensors.back().name, static_cast<int>(model_.tensors.size() - 1)).second;
      require(is_new, "tensor '", model_.tensors.back().name, "' is described twice");
    }
    for (const auto& [name, entry] : entries_)
      require(entry.is_used, "no tensor of the graph has the stored entries ['", name, "']");
    for (const Tensor& tensor : model_.tensors) has_value_.push_back(tensor.is_constant());
    read_inputs();
    for (const Json& node : array(json_, "nodes", kWhat)) model_.nodes.push_back(read_node(node));
    for (const Json& item : array(json_, "outputs", kWhat)) {
      const std::string name = text(item, "outputs");
      const int id = find(name);
      require(id != kAbsent && has_value(id), "output '", name, "' is written by no node");
      model_.outputs.push_back(id);
    }
    require(!model_.outputs.empty(), "the graph has no outputs");
    return std::move(model_);
  }

 private:
  static constexpr const char* kWhat = "graph";

  int find(const std::string& name) const {
    const auto found = index_.find(name);
    return found == index_.end() ? kAbsent : found->second;
  }

  bool has_value(int id) const { return has_value_[static_cast<std::size_t>(id)]; }

  void read_inputs() {
    for (const Json& item : array(json_, "inputs", kWhat)) {
      const std::string name = text(item, "inputs");
      const int id = find(name);
      require(id != kAbsent, "input '", name, "' is no tensor of the graph");
      const auto i = static_cast<std::size_t>(id);
      require(!model_.tensors[i].is_constant(), "input '", name, "' is a constant");
      require(!has_value_[i], "an input is named twice: '", name, "'");
      has_value_[i] = true;
      model_.inputs.push_back(id);
    }
  }

  Node read_node(const Json& json) {
    Node node;
    node.label = text(member(json, "label", "a node"), "label");
    node.op_type = text(member(json, "op_type", "a node"), "op_type");
    node.domain = text(member(json, "domain", "a node"), "domain");
    for (const Json& item : array(json, "inputs", "a node")) {
      const std::string name = text(item, "inputs");
      const int id = find(name);
      require(name.empty() || (id != kAbsent && has_value(id)), node.label, " reads '", name,
              "', which no node before it writes");
      node.inputs.push_back(id);
    }
    for (const Json& item : array(json, "outputs", "a node")) {
      const std::string name = text(item, "outputs");
      const int id = find(name);
      require(name.empty() || id != kAbsent, node.label, " writes '", name,
              "', which is no tensor of the graph");
      require(name.empty() || !has_value(id), node.label, " writes '", name, "', which is written already");
      if (id != kAbsent) has_value_[static_cast<std::size_t>(id)] = true;
      node.outputs.push_back(id);
    }
    require(!node.outputs.empty(), node.label, " has no outputs");
    const Json& attributes = member(json, "attributes", "a node");
    require(attributes.is_object(), node.label, ": expected an object as attributes, got ",
            attributes.type_name());
    for (const auto& item : attributes.items())
      node.attributes[item.key()] = read_attribute(item.value(), node.label, item.key());
    return node;
  }

  const Json& json_;
  Entries& entries_;
  Model model_;
  std::unordered_map<std::string, int> index_;
  std::vector<bool> has_value_;  // of the tensors: constant, input, or written by a node before
};

}  // namespace

Model parse_model(Span<const std::byte> bytes, std::shared_ptr<const void> owner) {
  require(bytes.size() >= 8, "the file is too short for a header: ", bytes.size(), " bytes");
  std::uint64_t header_size = 0;
  for (std::size_t i = 8; i-- > 0;) header_size = header_size << 8 | static_cast<std::uint64_t>(bytes[i]);
  require(header_size <= bytes.size() - 8 && header_size <= kMaxHeader, "the header should be ", header_size,
          " bytes long, but the file has ", bytes.size(), ": it is damaged, cut short, or no qslim model");
  const auto* text_begin = reinterpret_cast<const char*>(bytes.data() + 8);
  const Json header = parse_json(text_begin, text_begin + header_size, "the header");
  const auto data_begin = static_cast<std::size_t>(8 + header_size);
  const Span<const std::byte> data = bytes.subspan(data_begin, bytes.size() - data_begin);

  const auto metadata = header.find("__metadata__");
  const bool is_ours = metadata != header.end() && metadata->is_object() && metadata->contains("format") &&
                       (*metadata)["format"] == "qslim";
  require(is_ours, "this is no qslim model: \"__metadata__\" with \"format\": \"qslim\" is missing");
  constexpr const char* kGraph = "the graph in \"__metadata__\"";
  require(metadata->contains("graph") && (*metadata)["graph"].is_string(), kGraph, " is missing");
  const auto& graph_text = (*metadata)["graph"].get_ref<const std::string&>();
  Entries entries = read_entries(header, data, data_begin);
  const Json graph = parse_json(graph_text.data(), graph_text.data() + graph_text.size(), kGraph);
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
