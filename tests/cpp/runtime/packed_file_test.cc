// SPDX-License-Identifier: Apache-2.0
//
// Model files with groups of scales and with integers of 4 bits, two a byte: right ones run, others are refused.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "fuzz/model_run.h"
#include "runtime/model_builder.h"

namespace qslim::test {
namespace {

// "" where it runs, else the message.
std::string fate(const ModelBuilder& builder) {
  const std::vector<std::byte> bytes = builder.file();
  return run_model_bytes(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
}

ModelBuilder grouped() {
  ModelBuilder builder;
  builder.input("x", Dims{-1, 5})
      .packed_weights("w", {5, 3}, {1, -7, 7, 0, 2, 3, 4, 5, 6, -1, -2, -3, -4, -5, -6}, {3, 3},
                      std::vector<float>(9, 0.5f), 1, 2)
      .node("MatMul", {"x", "w"}, {"y"})
      .output("y");
  return builder;
}

TEST(ModelFile, GroupsAndPackedIntegersAreChecked) {
  EXPECT_EQ(fate(grouped()), "");
  const auto with = [](const char* key, const Json& value) {
    ModelBuilder builder = grouped();
    builder.graph["tensors"][1]["quantization"][key] = value;
    return fate(builder);
  };
  for (const Json& size : {Json(0), Json(-2), Json(3), Json(4), Json(1.5), Json("2"), Json(), Json(1e300)}) {
    EXPECT_NE(with("group_size", size), "") << size;
  }
  for (const Json& bits : {Json(0), Json(8), Json("4"), Json(), Json(4.5)})
    EXPECT_NE(with("packed_bits", bits), "") << bits;
  for (const Json& qmin : {Json(-4), Json(-9), Json(0)}) EXPECT_NE(with("qmin", qmin), "") << qmin;
  EXPECT_NE(with("quant_axis", 0), "");
  EXPECT_NE(with("unknown", 1), "");
  for (const char* key : {"group_size", "packed_bits"}) {
    ModelBuilder builder = grouped();
    builder.graph["tensors"][1]["quantization"].erase(key);
    EXPECT_NE(fate(builder), "") << key;
  }
  ModelBuilder padded;  // what is left of a row's last byte must be 0: a row of 3 with four integers
  padded.input("x", Dims{-1, 1})
      .packed_weights("w", {1, 4}, {1, 2, 3, 4}, {1, 4}, std::vector<float>(4, 0.5f), 1, 2)
      .node("MatMul", {"x", "w"}, {"y"})
      .output("y");
  padded.graph["tensors"][1]["shape"] = {1, 3};
  EXPECT_NE(fate(padded), "");
}

}  // namespace
}  // namespace qslim::test
