// SPDX-License-Identifier: Apache-2.0
//
// Small models that between them use every operator and every kind of step: what the tests break byte by byte
// and what the fuzzer starts from.
#pragma once

#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "runtime/model_builder.h"

namespace qslim::test {

inline constexpr QParams kSignedParams = {0.05f, 0, -128, 127};
inline constexpr QParams kUnsignedParams = {0.02f, 7, 0, 255};
inline constexpr QParams kWideParams = {0.001f, 3, -32768, 32767};

// Numbers without a pattern that a mistake could hide in.
inline std::vector<float> some_floats(std::size_t n, float size = 1.0f, unsigned seed = 1) {
  std::vector<float> values(n);
  std::uint32_t state = seed * 2654435761u + 12345u;
  for (float& value : values) {
    state = state * 1664525u + 1013904223u;
    value = size * (static_cast<float>(state >> 8) / 8388608.0f - 1.0f);
  }
  return values;
}

inline std::vector<std::int8_t> some_bytes(std::size_t n, unsigned seed = 1) {
  std::vector<std::int8_t> values;
  for (const float value : some_floats(n, 127.0f, seed)) values.push_back(static_cast<std::int8_t>(value));
  return values;
}

inline std::vector<float> some_scales(std::size_t n, unsigned seed = 1) {
  std::vector<float> values = some_floats(n, 1.0f, seed);
  for (float& value : values) value = 0.002f * (1.5f + value);
  return values;
}

using Models = std::map<std::string, ModelBuilder>;

inline void add_image_models(Models& models) {
  const Dims image = {-1, 4, -1, -1};
  models["conv_relu"]
      .input("x", image, kSignedParams)
      .weights("w", {6, 4, 3, 3}, some_bytes(6 * 4 * 9), some_scales(6), 0)
      .floats("b", {6}, some_floats(6))
      .tensor("y", Dims{-1, 6, -1, -1}, kUnsignedParams)
      .node("Conv", {"x", "w", "b"}, {"c"}, {{"pads", {1, 1, 1, 1}}, {"strides", {2, 2}}})
      .node("Relu", {"c"}, {"y"})
      .output("y");
  models["residual"]
      .input("x", image, kSignedParams)
      .weights("w", {4, 1, 3, 3}, some_bytes(4 * 9), {0.01f, 0.02f, 0.015f, 0.03f}, 0)
      .tensor("y", image, kSignedParams)
      .node("Conv", {"x", "w"}, {"c"}, {{"pads", {1, 1, 1, 1}}, {"group", 4}})
      .node("Add", {"c", "x"}, {"s"})
      .node("HardSwish", {"s"}, {"y"})
      .node("Concat", {"y", "x"}, {"z"}, {{"axis", 1}})
      .node("MaxPool", {"z"}, {"p"}, {{"kernel_shape", {2, 2}}, {"strides", {2, 2}}, {"ceil_mode", 1}})
      .node("AveragePool", {"p"}, {"a"}, {{"kernel_shape", {2, 2}}, {"pads", {1, 1, 0, 0}}})
      .output("a")
      .output("y");
  models["shuffle"]
      .input("x", Dims{-1, 6, 4, 5})
      .integers("split", {0, 3, 2, 4, 5})
      .integers("join", {0, -1, 4, 5})
      .floats("w", {6, 6, 1, 1}, some_floats(36))
      .node("Conv", {"x", "w"}, {"c"})
      .node("Reshape", {"c", "split"}, {"s"})
      .node("Transpose", {"s"}, {"t"}, {{"perm", {0, 2, 1, 3, 4}}})
      .node("Reshape", {"t", "join"}, {"j"})
      .node("Transpose", {"j"}, {"y"}, {{"perm", {0, 2, 3, 1}}})
      .output("y");
  models["upsample"]
      .input("x", image, kUnsignedParams)
      .floats("none", {0}, {})
      .floats("scales", {4}, {1, 1, 2, 2})
      .floats("w", {4, 3, 2, 2}, some_floats(48))
      .floats("alpha", {3, 1, 1}, {0.1f, 0.2f, 0.3f})
      .floats("lo", {}, {-1.0f})
      .floats("hi", {}, {1.0f})
      .node(
          "Resize", {"x", "none", "scales"}, {"n"},
          {{"mode", "nearest"}, {"coordinate_transformation_mode", "asymmetric"}, {"nearest_mode", "floor"}})
      .node("Resize", {"n", "none", "scales"}, {"l"}, {{"mode", "linear"}})
      .node("ConvTranspose", {"l", "w"}, {"t"}, {{"strides", {2, 2}}})
      .node("PRelu", {"t", "alpha"}, {"r"})
      .node("Clip", {"r", "lo", "hi"}, {"y"})
      .output("y");
  models["squeeze_excite"]
      .input("x", image, kSignedParams)
      .floats("w1", {2, 4, 1, 1}, some_floats(8))
      .floats("w2", {4, 2, 1, 1}, some_floats(8))
      .tensor("wide", Dims{-1, 4, 1, 1}, kWideParams)
      .node("GlobalAveragePool", {"x"}, {"a"})
      .node("Conv", {"a", "w1"}, {"b"})
      .node("Relu", {"b"}, {"c"})
      .node("Conv", {"c", "w2"}, {"d"})
      .node("HardSigmoid", {"d"}, {"wide"})
      .node("Mul", {"x", "wide"}, {"m"})
      .node("Sigmoid", {"m"}, {"s"})
      .node("Mul", {"m", "s"}, {"swish"})
      .node("GlobalMaxPool", {"swish"}, {"y"})
      .output("y");
}

inline void add_integer_models(Models& models) {
  models["extents"]
      .input("x", std::nullopt)
      .integers("zero", {0})
      .integers("one", {1})
      .integers("minus", {-1})
      .node("Shape", {"x"}, {"s"})
      .node("Gather", {"s", "zero"}, {"n"}, {{"axis", 0}})
      .node("Concat", {"n", "minus"}, {"to"}, {{"axis", 0}})
      .node("Reshape", {"x", "to"}, {"f"})
      .node("Unsqueeze", {"f", "one"}, {"u"})
      .node("Squeeze", {"u", "one"}, {"v"})
      .node("Slice", {"s", "one", "minus", "zero"}, {"tail"})
      .node("Cast", {"tail"}, {"cast"}, {{"to", 6}})
      .node("ReduceProd", {"s"}, {"count"}, {{"keepdims", 0}})
      .node("Range", {"zero", "one", "one"}, {"range"})
      .node("ConstantOfShape", {"one"}, {"ones"}, {{"value", 1}})
      .node("Add", {"range", "ones"}, {"sum"})
      .node("Flatten", {"v"}, {"y"})
      .output("y")
      .output("cast", "int32")
      .output("sum", "int64")
      .output("count", "int64");
  models["masks"]
      .input("x", Dims{-1, 4})
      .input("ids", Dims{-1, 4}, {}, "int64")
      .floats("half", {}, {0.5f})
      .integers("three", {3})
      .node("Greater", {"x", "half"}, {"g"})
      .node("LessOrEqual", {"x", "half"}, {"l"})
      .node("And", {"g", "l"}, {"a"})
      .node("Less", {"x", "half"}, {"s"})
      .node("GreaterOrEqual", {"x", "half"}, {"b"})
      .node("Or", {"s", "b"}, {"u"})
      .node("And", {"a", "u"}, {"v"})
      .node("Xor", {"v", "g"}, {"o"})
      .node("Not", {"o"}, {"n"})
      .node("Where", {"n", "x", "half"}, {"w"})
      .node("Equal", {"ids", "three"}, {"e"})
      .node("Cast", {"e"}, {"f"}, {{"to", 1}})
      .node("Mul", {"w", "f"}, {"y"})
      .node("Mod", {"ids", "three"}, {"m"})
      .node("Add", {"m", "ids"}, {"i"})
      .node("ReduceSum", {"i"}, {"count"}, {{"axes", {1}}})
      .output("y")
      .output("count", "int64");
}

inline void add_element_models(Models& models) {
  models["movement"]
      .input("x", Dims{-1, 4, 6}, kSignedParams)
      .integers("pads", {0, 1, 0, 0, 0, 2})
      .integers("repeats", {1, 2, 1})
      .integers("indices", {1, -1, 0})
      .integers("starts", {-1})
      .integers("ends", {-9223372036854775807LL})
      .integers("axes", {2})
      .integers("steps", {-2})
      .integers("wanted", {2, 1, 4, 6})
      .node("Split", {"x"}, {"a", "b"}, {{"axis", 1}})
      .node("Concat", {"b", "a"}, {"c"}, {{"axis", 1}})
      .node("Pad", {"c", "pads"}, {"p"})
      .node("Slice", {"p", "starts", "ends", "axes", "steps"}, {"l"})
      .node("Tile", {"l", "repeats"}, {"t"})
      .node("Gather", {"t", "indices"}, {"g"}, {{"axis", 1}})
      .node("Expand", {"x", "wanted"}, {"e"})
      .node("Trilu", {"g"}, {"u"})
      .node("Identity", {"u"}, {"y"})
      .output("y")
      .output("e");
  models["reductions"]
      .input("x", Dims{-1, 3, 4, 5})
      .integers("axes", {1, 3})
      .floats("w", {5, 7}, some_floats(35))
      .floats("b", {7}, some_floats(7))
      .integers("rows", {-1, 5})
      .node("ReduceMean", {"x", "axes"}, {"a"})
      .node("ReduceSum", {"x"}, {"b1"}, {{"axes", {2}}, {"keepdims", 0}})
      .node("ReduceMax", {"x"}, {"c"}, {{"axes", {-1}}})
      .node("ReduceMin", {"x"}, {"d"}, {{"axes", {1, 2}}})
      .node("ArgMax", {"x"}, {"i"}, {{"axis", 1}, {"keepdims", 0}})
      .node("Reshape", {"x", "rows"}, {"r"})
      .node("Gemm", {"r", "w", "b"}, {"y"})
      .output("a")
      .output("b1")
      .output("c")
      .output("d")
      .output("i", "int64")
      .output("y");
  models["selection"]
      .input("x", Dims{-1, 4, 6})
      .input("at", Dims{-1, 2}, {}, "int32")
      .floats("table", {200, 6}, some_floats(1200))
      .integers("two", {2})
      .integers("axis", {1})
      .integers("pads", {0, 1, 2, 0, 3, 1})
      .integers("pair", {0, -1})
      .integers("pixels", {-1, 1, 4, 6})
      .node("Greater", {"x", "x"}, {"none"})
      .node("Cast", {"none"}, {"zeros"}, {{"to", 7}})
      .node("GatherElements", {"x", "zeros"}, {"ge"}, {{"axis", 2}})
      .node("GatherND", {"x", "pair"}, {"tuple"})
      .node("Gather", {"table", "zeros"}, {"rows"})
      .node("TopK", {"ge", "two"}, {"v", "p"}, {{"axis", 1}})
      .node("CumSum", {"v", "axis"}, {"c"}, {{"reverse", 1}})
      .node("Pad", {"x", "pads"}, {"mirrored"}, {{"mode", "reflect"}})
      .node("Reshape", {"x", "pixels"}, {"image"})
      .node("SpaceToDepth", {"image"}, {"d"}, {{"blocksize", 2}})
      .node("DepthToSpace", {"d"}, {"s"}, {{"blocksize", 2}, {"mode", "CRD"}})
      .output("c")
      .output("p", "int64")
      .output("tuple")
      .output("rows")
      .output("mirrored")
      .output("s");
}

inline void add_sequence_models(Models& models) {
  const Dims image = {-1, 4, -1, -1};
  models["attention"]
      .input("x", Dims{-1, 6, 8})
      .weights("w", {8, 8}, some_bytes(64), some_scales(8), 1)
      .floats("g", {8}, some_floats(8))
      .floats("b", {8}, some_floats(8))
      .floats("scale", {1}, {0.35f})
      .tensor("q", Dims{-1, 6, 8}, kSignedParams)
      .node("LayerNormalization", {"x", "g", "b"}, {"q"}, {{"epsilon", 1e-6}})
      .node("MatMul", {"q", "w"}, {"m"})
      .node("Transpose", {"m"}, {"t"}, {{"perm", {0, 2, 1}}})
      .node("MatMul", {"q", "t"}, {"s"})
      .node("Mul", {"s", "scale"}, {"u"})
      .node("Softmax", {"u"}, {"p"}, {{"axis", -1}})
      .node("MatMul", {"p", "m"}, {"v"})
      .node("Gelu", {"v"}, {"e"})
      .node("Add", {"e", "x"}, {"y"})
      .output("y");
  models["recurrent"]
      .input("x", Dims{3, -1, 2})
      .floats("w", {2, 8, 2}, some_floats(32))
      .floats("r", {2, 8, 2}, some_floats(32))
      .floats("b", {2, 16}, some_floats(32))
      .floats("gw", {1, 6, 2}, some_floats(12))
      .floats("gr", {1, 6, 2}, some_floats(12))
      .node("LSTM", {"x", "w", "r", "b"}, {"y", "h", "c"}, {{"direction", "bidirectional"}})
      .floats("rw", {1, 2, 2}, some_floats(4))
      .node("GRU", {"x", "gw", "gr"}, {"g"}, {{"hidden_size", 2}})
      .node("RNN", {"x", "rw", "rw"}, {"n"}, {{"activations", {"Relu"}}})
      .output("n")
      .output("y")
      .output("c")
      .output("g");
  models["norms"]
      .input("x", image)
      .input("grid", Dims{-1, 3, 2, 2})
      .floats("none", {0}, {})
      .floats("scales", {2}, {1.5f, 2.0f})
      .floats("g", {4}, some_floats(4))
      .floats("b", {4}, some_floats(4))
      .node("GroupNormalization", {"x", "g", "b"}, {"n"}, {{"num_groups", 2}})
      .node("InstanceNormalization", {"n", "g", "b"}, {"i"})
      .node("Resize", {"i", "none", "scales"}, {"r"}, {{"mode", "cubic"}, {"axes", {2, 3}}})
      .node("GridSample", {"r", "grid"}, {"y"}, {{"padding_mode", "reflection"}})
      .output("y");
}

// A table and a linear layer of 4-bit integers in groups of 4: 6 = 4 + 2.
inline void add_packed_models(Models& models) {
  std::vector<std::int8_t> integers = some_bytes(6 * 6);
  for (std::int8_t& q : integers) q = static_cast<std::int8_t>(q / 16);
  models["packed"]
      .input("x", Dims{-1, 6})
      .packed_weights("w", {6, 6}, integers, {2, 6}, some_scales(12), 1, 4)
      .packed_weights("t", {6, 6}, integers, {6, 2}, some_scales(12, 2), 0, 4)
      .integers("i", {5, 0, -2})
      .node("MatMul", {"x", "w"}, {"m"})
      .node("Relu", {"m"}, {"y"})
      .node("Gather", {"t", "i"}, {"rows"})
      .node("ReduceSum", {"rows"}, {"sum"})
      .node("Add", {"y", "sum"}, {"z"})
      .output("z");
}

inline void add_unary_models(Models& models) {
  ModelBuilder& unary = models["unary"];
  unary.input("x0", Dims{-1, 7});
  std::string last = "x0";
  for (const char* op : {"Abs", "Sqrt", "Log", "Ceil", "Floor", "Neg", "Elu", "Celu", "LeakyRelu", "Mish",
                         "Softplus", "Sin", "Cos", "Round", "Erf", "Tanh", "Exp", "Reciprocal"}) {
    unary.node(op, {last}, {std::string("y_") + op});
    last = std::string("y_") + op;
  }
  for (const char* op : {"Sub", "Div", "Max", "Min", "Pow"}) {
    unary.node(op, {last, "x0"}, {std::string("y_") + op});
    last = std::string("y_") + op;
  }
  unary.output(last);
}

inline Models example_models() {
  Models models;
  add_image_models(models);
  add_integer_models(models);
  add_element_models(models);
  add_sequence_models(models);
  add_packed_models(models);
  add_unary_models(models);
  return models;
}

}  // namespace qslim::test
