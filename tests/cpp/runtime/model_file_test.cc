// SPDX-License-Identifier: Apache-2.0
//
// Whatever the bytes, a model file loads and runs, or throws FormatError or InvalidArgument.
#include "qslim/runtime/model/model_file.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "fuzz/changed_file.h"
#include "fuzz/model_run.h"
#include "runtime/example_models.h"

namespace qslim::test {
namespace {

using runtime::Attribute;
using runtime::Model;
using runtime::parse_model;

// "" where it runs, else the message.
std::string fate(const std::vector<std::byte>& bytes) {
  return run_model_bytes(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
}
std::string fate(const ModelBuilder& builder) { return fate(builder.file()); }

void expect_refused(const ModelBuilder& builder, const std::string& part) {
  const std::string message = fate(builder);
  EXPECT_NE(message.find(part), std::string::npos) << "got '" << message << "', expected '" << part << "'";
}

// One Relu; what the tests below break.
ModelBuilder relu() {
  ModelBuilder builder;
  builder.input("x", Dims{-1, 4}).node("Relu", {"x"}, {"y"}).output("y");
  return builder;
}

TEST(ModelFile, GivesBackWhatWasWritten) {
  ModelBuilder builder;
  builder.input("x", Dims{-1, 3, -1, 8}, QParams{0.5f, 4, 0, 255})
      .weights("w", {2, 3, 1, 1}, {1, -2, 3, -4, 5, -127}, {0.25f, 0.5f}, 0)
      .integers("to", {0, -1})
      .node("Conv", {"x", "w", ""}, {"c"},
            {{"pads", {0, 1, 0, 1}},
             {"group", 1},
             {"auto_pad", "NOTSET"},
             {"alpha", 0.5},
             {"names", {"a", "b"}}})
      .node("Reshape", {"c", "to"}, {"y"})
      .output("y");
  const Model model = builder.model();
  ASSERT_EQ(model.tensors.size(), 5u);
  EXPECT_EQ(model.inputs, (std::vector<int>{0}));
  EXPECT_EQ(model.outputs, (std::vector<int>{4}));
  EXPECT_EQ(*model.tensors[0].shape, (Dims{-1, 3, -1, 8}));
  ASSERT_TRUE(model.tensors[0].quantization.has_value());
  EXPECT_EQ(model.tensors[0].quantization->scale, (std::vector<float>{0.5f}));
  EXPECT_EQ(model.tensors[0].quantization->zero_point, 4);
  EXPECT_TRUE(model.tensors[0].quantization->is_unsigned());
  ASSERT_TRUE(model.tensors[1].is_constant());
  EXPECT_EQ(static_cast<int>(static_cast<std::int8_t>(model.tensors[1].data[5])), -127);
  EXPECT_EQ(model.tensors[1].quantization->scale, (std::vector<float>{0.25f, 0.5f}));
  EXPECT_EQ(model.tensors[1].quantization->quant_axis, std::size_t{0});
  EXPECT_EQ(model.tensors[2].dtype, DType::kInt64);
  EXPECT_FALSE(model.tensors[3].shape.has_value());
  ASSERT_EQ(model.nodes.size(), 2u);
  EXPECT_EQ(model.nodes[0].inputs, (std::vector<int>{0, 1, runtime::kAbsent}));
  EXPECT_EQ(std::get<std::vector<std::int64_t>>(model.nodes[0].attributes.at("pads")),
            (std::vector<std::int64_t>{0, 1, 0, 1}));
  EXPECT_EQ(std::get<double>(model.nodes[0].attributes.at("alpha")), 0.5);
  EXPECT_EQ(std::get<std::string>(model.nodes[0].attributes.at("auto_pad")), "NOTSET");
  EXPECT_EQ(std::get<std::vector<std::string>>(model.nodes[0].attributes.at("names")).size(), 2u);
  EXPECT_EQ(model.file_bytes, builder.file().size());
}

TEST(ModelFile, ExamplesRun) {
  for (const auto& [name, builder] : example_models()) EXPECT_EQ(fate(builder), "") << name;
}

TEST(ModelFile, RefusesEveryTruncation) {
  for (const auto& [name, builder] : example_models()) {
    const std::vector<std::byte> whole = builder.file();
    const bool has_data = !builder.data().empty();
    // Every length of the shortest file, ever fewer of the longer ones.
    for (std::size_t size = 0; size < whole.size(); size += whole.size() < 2048 ? 1 : 1 + size / 64) {
      const std::vector<std::byte> part(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
      const std::string message = fate(part);
      if (!has_data && size >= 8) continue;  // what is cut may be the padding alone
      EXPECT_NE(message, "") << name << " cut to " << size << " of " << whole.size();
    }
  }
}

TEST(ModelFile, SurvivesRandomBytes) {
  std::mt19937 random(20);
  for (const auto& [name, builder] : example_models()) {
    const std::vector<std::byte> whole = builder.file();
    for (int i = 0; i < 400; ++i) {
      std::vector<std::byte> bytes = whole;
      const unsigned flips = 1 + random() % 4;
      for (unsigned f = 0; f < flips; ++f) {
        // Digits and letters for themselves most of the time: other bytes seldom leave JSON behind.
        const auto value = random() % 4 == 0 ? random() % 256 : "0123456789-[]{},\":eE.xyw"[random() % 23];
        bytes[random() % bytes.size()] = static_cast<std::byte>(value);
      }
      fate(bytes);
    }
  }
}

// Whole files that mean something else: whatever runs, gives one result on every instruction set and with any
// number of threads (run_model_bytes throws otherwise).
TEST(ModelFile, SurvivesChangedMeaning) {
  std::mt19937 random(21);
  int runs = 0;
  for (const auto& [name, builder] : example_models()) {
    const std::vector<std::byte> whole = builder.file();
    for (int i = 0; i < 150; ++i) {
      SCOPED_TRACE(name + ", " + std::to_string(i));
      std::string file(reinterpret_cast<const char*>(whole.data()), whole.size());
      for (unsigned changes = 1 + random() % 3; changes > 0; --changes) {
        const std::string changed =
            changed_file(reinterpret_cast<const std::uint8_t*>(file.data()), file.size(), random);
        if (!changed.empty()) file = changed;
      }
      std::string message;
      EXPECT_NO_THROW(message =
                          run_model_bytes(reinterpret_cast<const std::uint8_t*>(file.data()), file.size()));
      runs += message.empty() ? 1 : 0;
    }
  }
  EXPECT_GT(runs, 100);
}

// ---- the container ----

TEST(ModelFile, ContainerIsChecked) {
  const std::string good = relu().header().dump();
  EXPECT_EQ(fate(ModelBuilder::file_of(good, "")), "");
  EXPECT_NE(fate(std::vector<std::byte>{}), "");
  EXPECT_NE(fate(std::vector<std::byte>(8, std::byte{0})), "");
  EXPECT_NE(fate(std::vector<std::byte>(4096, std::byte{255})), "");
  for (const char* header :
       {"", "[]", "{}", "1", "\"text\"", "{\"__metadata__\":{}}", "{\"__metadata__\":[]}",
        "{\"__metadata__\":{\"graph\":1}}", "{\"__metadata__\":{\"graph\":\"[]\"}}"}) {
    EXPECT_NE(fate(ModelBuilder::file_of(header, "")), "") << header;
  }
  const std::string deep(std::size_t{1} << 20, '[');
  EXPECT_NE(fate(ModelBuilder::file_of(deep, "")).find("nests"), std::string::npos);
  const std::string deep_objects = [] {
    std::string text;
    for (int i = 0; i < 100000; ++i) text += "{\"a\":";
    return text;
  }();
  EXPECT_NE(fate(ModelBuilder::file_of(deep_objects, "")), "");
}

TEST(ModelFile, EntriesAreChecked) {
  ModelBuilder builder;
  builder.input("x", Dims{-1, 4})
      .floats("w", {2, 4}, some_floats(8))
      .node("Add", {"x", "w"}, {"y"})
      .output("y");
  const Json good = builder.header();
  const auto with = [&](const char* key, const Json& value) {
    Json header = good;
    header["w"][key] = value;
    return fate(ModelBuilder::file_of(header.dump(), builder.data()));
  };
  EXPECT_EQ(with("dtype", "F32"), "");
  const std::int64_t least = std::numeric_limits<std::int64_t>::min(),
                     most = std::numeric_limits<std::int64_t>::max();
  for (const Json& offsets : {Json{0, 31}, Json{0, 33}, Json{1, 33}, Json{-32, 0}, Json{32, 0}, Json{0},
                              Json{0, 32, 32}, Json{0, most}, Json{least, most}, Json{most, most},
                              Json{0.0, 32.0}, Json{"0", "32"}, Json(), Json(32), Json{4, 36}}) {
    EXPECT_NE(with("data_offsets", offsets), "") << offsets;
  }
  for (const Json& shape :
       {Json{2, 3}, Json{8}, Json{-2, -4}, Json{0, 4}, Json{most, 4},
        Json{2147483647, 2147483647, 2147483647}, Json{std::int64_t{1} << 32, std::int64_t{1} << 32},
        Json{2, 4, 1, 1, 1, 1, 1, 1, 1}, Json{1e3}, Json(8), Json{nullptr},
        Json{0, 2147483647, 2147483647, 2147483647}, Json{4, 2}}) {
    EXPECT_NE(with("shape", shape), "") << shape;
  }
  for (const Json& dtype : {Json("I8"), Json("F64"), Json("I32"), Json(""), Json(1), Json()}) {
    EXPECT_NE(with("dtype", dtype), "") << dtype;
  }
}

// ---- the graph ----

TEST(ModelFile, GraphIsChecked) {
  const auto broken = [](const std::function<void(Json&)>& change) {
    ModelBuilder builder = relu();
    change(builder.graph);
    return fate(builder);
  };
  const std::vector<std::pair<const char*, std::function<void(Json&)>>> changes = {
      {"version", [](Json& g) { g["format_version"] = 3; }},
      {"no version", [](Json& g) { g.erase("format_version"); }},
      {"no nodes", [](Json& g) { g.erase("nodes"); }},
      {"nodes are an object", [](Json& g) { g["nodes"] = Json::object(); }},
      {"no outputs", [](Json& g) { g["outputs"] = Json::array(); }},
      {"output without a name", [](Json& g) { g["outputs"] = {""}; }},
      {"output that is not there", [](Json& g) { g["outputs"] = {"z"}; }},
      {"output is a number", [](Json& g) { g["outputs"] = {1}; }},
      {"input without a name", [](Json& g) { g["inputs"] = {""}; }},
      {"input twice", [](Json& g) { g["inputs"] = {"x", "x"}; }},
      {"no inputs", [](Json& g) { g["inputs"] = Json::array(); }},
      {"tensor twice", [](Json& g) { g["tensors"].push_back(g["tensors"][0]); }},
      {"tensor without a name", [](Json& g) { g["tensors"][0]["name"] = ""; }},
      {"tensor of doubles", [](Json& g) { g["tensors"][0]["dtype"] = "float64"; }},
      {"tensor is a list", [](Json& g) { g["tensors"][0] = Json::array(); }},
      {"negative extent", [](Json& g) { g["tensors"][0]["shape"] = {-1, 4}; }},
      {"huge extent", [](Json& g) { g["tensors"][0]["shape"] = {std::int64_t{1} << 40}; }},
      {"many axes", [](Json& g) { g["tensors"][0]["shape"] = Json(std::vector<int>(9, 1)); }},
      {"cycle", [](Json& g) { g["nodes"][0]["inputs"] = {"y"}; }},
      {"node before its input",
       [](Json& g) {
         g["tensors"].push_back({{"name", "z"}, {"dtype", "float32"}, {"shape", nullptr}});
         g["nodes"].push_back(g["nodes"][0]);
         g["nodes"][0]["inputs"] = {"z"};
         g["nodes"][1]["outputs"] = {"z"};
       }},
      {"value twice", [](Json& g) { g["nodes"].push_back(g["nodes"][0]); }},
      {"node writes an input", [](Json& g) { g["nodes"][0]["outputs"] = {"x"}; }},
      {"node without outputs", [](Json& g) { g["nodes"][0]["outputs"] = Json::array(); }},
      {"first output absent", [](Json& g) { g["nodes"][0]["outputs"] = {"", "y"}; }},
      {"node without inputs", [](Json& g) { g["nodes"][0]["inputs"] = Json::array(); }},
      {"input absent", [](Json& g) { g["nodes"][0]["inputs"] = {""}; }},
      {"too many inputs", [](Json& g) { g["nodes"][0]["inputs"] = {"x", "x"}; }},
      {"unknown operator", [](Json& g) { g["nodes"][0]["op_type"] = "Einsum"; }},
      {"foreign domain", [](Json& g) { g["nodes"][0]["domain"] = "paddle"; }},
      {"attributes are a list", [](Json& g) { g["nodes"][0]["attributes"] = Json::array(); }},
      {"attribute is an object", [](Json& g) { g["nodes"][0]["attributes"]["a"] = Json::object(); }},
      {"attribute is null", [](Json& g) { g["nodes"][0]["attributes"]["a"] = nullptr; }},
      {"attribute of mixed types", [](Json& g) { g["nodes"][0]["attributes"]["a"] = {1, "a"}; }},
      {"attribute of lists", [](Json& g) { g["nodes"][0]["attributes"]["a"] = {{1}, {2}}; }},
      {"label is a number", [](Json& g) { g["nodes"][0]["label"] = 3; }},
  };
  for (const auto& [name, change] : changes) EXPECT_NE(broken(change), "") << name;
  EXPECT_EQ(broken([](Json&) {}), "");
  EXPECT_EQ(broken([](Json& g) { g["outputs"] = {"y", "y", "x"}; }), "")
      << "outputs may repeat and pass inputs on";
}

TEST(ModelFile, QuantizationIsChecked) {
  const auto with = [](const char* key, const Json& value) {
    ModelBuilder builder = relu();
    builder.graph["tensors"][0]["quantization"] = {{"dtype", "int8"}, {"scale", 0.5},
                                                   {"zero_point", 0}, {"qmin", -128},
                                                   {"qmax", 127},     {"quant_axis", nullptr}};
    builder.graph["tensors"][0]["quantization"][key] = value;
    return fate(builder);
  };
  EXPECT_EQ(with("scale", 0.25), "");
  for (const Json& scale :
       {Json(0), Json(-1.0), Json(1e300), Json(1e-300), Json("x"), Json("none"), Json(), Json{1.0}}) {
    EXPECT_NE(with("scale", scale), "") << scale;
  }
  for (const Json& number :
       {Json(200), Json(-129), Json(1e9), Json(std::int64_t{1} << 40), Json("0"), Json(0.5)}) {
    EXPECT_NE(with("zero_point", number), "") << number;
  }
  for (const Json& number : {Json(127), Json(128), Json(-1000000), Json(-(std::int64_t{1} << 40))}) {
    EXPECT_NE(with("qmin", number), "") << number;
  }
  for (const Json& axis : {Json(0), Json(-1), Json(8), Json("0")})
    EXPECT_NE(with("quant_axis", axis), "") << axis;
  EXPECT_NE(with("qmax", 200), "") << "329 integers are no int8";
}

TEST(ModelFile, RefusesQuantizedIntegers) {
  ModelBuilder builder;
  builder.input("x", Dims{-1, 4}).tensor("s", Dims{2}, kSignedParams).node("Shape", {"x"}, {"s"}).output("s");
  expect_refused(builder, "quantization");
}

// ---- sizes ----

TEST(ModelFile, RefusesAbsurdSizes) {
  ModelBuilder tile;
  tile.input("x", Dims{1, 1024}).integers("r", {1 << 19, 1 << 9}).node("Tile", {"x", "r"}, {"y"}).output("y");
  expect_refused(tile, "would have shape");
  ModelBuilder arena;
  arena.input("x", Dims{1, 1024}).integers("r", {1 << 10, 1 << 10}).node("Tile", {"x", "r"}, {"t"});
  arena.node("Relu", {"t"}, {"y"}).node("Softmax", {"y"}, {"z"}).output("z").output("t").output("y");
  EXPECT_THROW(runtime::Session(arena.model()), InvalidArgument);
  ModelBuilder input;
  input.input("x", Dims{1 << 30, 1 << 30}).node("Relu", {"x"}, {"y"}).output("y");
  expect_refused(input, "elements");
  ModelBuilder pads;
  pads.input("x", Dims{1, 1, 4, 4})
      .node("MaxPool", {"x"}, {"y"},
            {{"kernel_shape", {1, 1}}, {"pads", {1 << 20, 1 << 20, 1 << 20, 1 << 20}}});
  pads.output("y");
  expect_refused(pads, "would have shape");
}

// ---- attributes ----

// Every attribute and every integer constant of the examples takes every weird value.
TEST(ModelFile, SurvivesWeirdAttributes) {
  const std::int64_t least = std::numeric_limits<std::int64_t>::min(),
                     most = std::numeric_limits<std::int64_t>::max();
  const std::vector<std::int64_t> numbers = {0,  1,       -1,         2,         3,         -3,    7,
                                             64, 1 << 20, -(1 << 20), 1LL << 31, 1LL << 40, least, most};
  for (const auto& [name, builder] : example_models()) {
    for (std::size_t n = 0; n < builder.graph["nodes"].size(); ++n) {
      const Json attributes = builder.graph["nodes"][n]["attributes"];
      for (const auto& item : attributes.items()) {
        std::vector<Json> values = {
            "", "text", 0.5, Json::array(), Json{0.5, 0.5}, Json{"a"}, std::vector<int>(9, 1)};
        for (const std::int64_t number : numbers) {
          values.push_back(number);
          if (!item.value().is_array()) continue;
          for (std::size_t i = 0; i <= item.value().size(); ++i) {
            Json list = item.value();
            if (i < list.size())
              list[i] = number;
            else
              list = std::vector<std::int64_t>(list.size(), number);
            values.push_back(list);
          }
        }
        for (const Json& value : values) {
          ModelBuilder weird = builder;
          weird.attributes(n)[item.key()] = value;
          SCOPED_TRACE(name + ": " + item.key() + " = " + value.dump());
          fate(weird);
        }
      }
    }
  }
}

TEST(ModelFile, SurvivesOtherOperatorsAndOperands) {
  const char* const operators[] = {
#define QSLIM_OP(Name, movement) #Name,
#include "qslim/runtime/ops/ops.inc"
#undef QSLIM_OP
  };
  for (const auto& [name, builder] : example_models()) {
    for (std::size_t n = 0; n < builder.graph["nodes"].size(); ++n) {
      for (const char* op : operators) {
        ModelBuilder other = builder;
        other.graph["nodes"][n]["op_type"] = op;
        SCOPED_TRACE(name + ", node " + std::to_string(n) + " as " + op);
        fate(other);
      }
      const std::size_t count = builder.graph["nodes"][n]["inputs"].size();
      for (std::size_t i = 0; i < count; ++i) {
        ModelBuilder fewer = builder;
        fewer.graph["nodes"][n]["inputs"].erase(i);
        fate(fewer);
        for (const Json& tensor : builder.graph["tensors"]) {
          ModelBuilder other = builder;
          other.graph["nodes"][n]["inputs"][i] = tensor["name"];
          SCOPED_TRACE(name + ", node " + std::to_string(n) + " reads " + tensor["name"].dump());
          fate(other);
        }
        ModelBuilder absent = builder;
        absent.graph["nodes"][n]["inputs"][i] = "";
        fate(absent);
      }
    }
  }
}

TEST(ModelFile, SurvivesOtherTypes) {
  for (const auto& [name, builder] : example_models()) {
    for (std::size_t t = 0; t < builder.graph["tensors"].size(); ++t) {
      for (const char* dtype : {"int8", "uint8", "int32", "int64", "bool", "float32"}) {
        ModelBuilder other = builder;
        other.graph["tensors"][t]["dtype"] = dtype;
        other.graph["tensors"][t].erase("quantization");
        SCOPED_TRACE(name + ", tensor " + std::to_string(t) + " of " + dtype);
        fate(other);
      }
      for (const QParams& params : {kSignedParams, kUnsignedParams, kWideParams, QParams{0x1p-126f, 0, -1, 1},
                                    QParams{0x1p+126f, 255, 254, 255}, QParams{1, 5, -1, 254}}) {
        ModelBuilder other = builder;
        Json& tensor = other.graph["tensors"][t];
        tensor["quantization"] = {{"scale", params.scale},
                                  {"zero_point", params.zero_point},
                                  {"qmin", params.qmin},
                                  {"qmax", params.qmax},
                                  {"quant_axis", nullptr}};
        SCOPED_TRACE(name + ", tensor " + std::to_string(t) + " on " + tensor["quantization"].dump());
        fate(other);
      }
    }
  }
}

// ---- what was found by review ----

TEST(ModelFile, ByteInputsDoNotReachFloatKernels) {
  for (const char* op : {"GlobalAveragePool", "GlobalMaxPool", "ReduceMean", "ArgMax", "MaxPool",
                         "AveragePool", "Softmax", "Relu", "Neg", "LeakyRelu"}) {
    ModelBuilder builder;
    builder.input("x", Dims{1, 3, 8, 8}, {}, "uint8");
    builder.node(op, {"x"}, {"y"}, {{"kernel_shape", {2, 2}}}).output("y");
    EXPECT_NE(fate(builder), "") << op;
  }
}

TEST(ModelFile, ByteInputsMayBeMoved) {
  ModelBuilder builder;
  builder.input("x", Dims{-1, 3, 8, 8}, {}, "uint8")
      .floats("scales", {4}, {1, 1, 2, 2})
      .node("Resize", {"x", "", "scales"}, {"r"});
  builder.node("Transpose", {"r"}, {"t"}, {{"perm", {0, 2, 3, 1}}}).output("t", "uint8");
  EXPECT_EQ(fate(builder), "");
}

TEST(ModelFile, WideGridOfAViewOfBytes) {
  ModelBuilder builder;
  builder.input("x", Dims{-1, 4, 6}, kSignedParams)
      .integers("to", {-1, 24})
      .tensor("y", Dims{-1, 24}, kWideParams)
      .node("Reshape", {"x", "to"}, {"y"})
      .output("y");
  EXPECT_EQ(fate(builder), "");
}

TEST(ModelFile, MixedIntegersConcatenate) {
  ModelBuilder builder;
  builder.input("x", Dims{3}, {}, "int32").integers("i", {7}).node("Concat", {"x", "i"}, {"y"}).output("y");
  expect_refused(builder, "type");
}

TEST(ModelFile, OddPlacesAreNamed) {
  EXPECT_THROW(runtime::load_model("/nowhere/model.qslim"), InvalidArgument);
  EXPECT_THROW(runtime::load_model("/"), InvalidArgument);
  EXPECT_THROW(runtime::load_model("/dev/null"), InvalidArgument);
  const std::string path = ::testing::TempDir() + "qslim_model_file_test.qslim";
  std::ofstream(path, std::ios::binary) << "";
  EXPECT_THROW(runtime::load_model(path), FormatError);
  std::ofstream(path, std::ios::binary) << std::string(100, 'x');
  try {
    runtime::load_model(path);
    FAIL();
  } catch (const FormatError& error) {
    EXPECT_NE(std::string(error.what()).find(path), std::string::npos);
  }
  std::remove(path.c_str());
}

// Inputs that once broke something, and what the fuzzer found.
TEST(ModelFile, CorpusIsHarmless) {
  std::size_t files = 0;
  for (const auto& item : std::filesystem::directory_iterator(QSLIM_CORPUS)) {
    std::ifstream file(item.path(), std::ios::binary);
    const std::string bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    SCOPED_TRACE(item.path().filename());
    run_model_bytes(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
    ++files;
  }
  EXPECT_GT(files, 0u);
}

}  // namespace
}  // namespace qslim::test
