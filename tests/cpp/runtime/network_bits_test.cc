// SPDX-License-Identifier: Apache-2.0
//
// Whole networks against the digests in network_bits.inc: every processor gives the same bytes, on each of its
// instruction sets. A digest that a change of arithmetic makes wrong is printed, as the row that replaces it.
#include <gtest/gtest.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "fuzz/model_run.h"
#include "runtime/example_models.h"

namespace qslim::test {
namespace {

using runtime::Session;

const std::map<std::string, std::uint64_t> kDigests = {
#define QSLIM_NETWORK_BITS(name, digest) {name, digest},
#include "runtime/network_bits.inc"
#undef QSLIM_NETWORK_BITS
};

// Convolutions of the kinds that mobile networks have, of channels that fill no vector.
ModelBuilder mobile_network() {
  ModelBuilder b;
  const auto conv = [&](const std::string& x, const std::string& y, std::int64_t from, std::int64_t to,
                        std::int64_t side, std::int64_t stride, std::int64_t group, unsigned seed) {
    const auto channels = static_cast<std::size_t>(to), each = static_cast<std::size_t>(from / group);
    b.weights("w" + y, {to, from / group, side, side},
              some_bytes(channels * each * static_cast<std::size_t>(side * side), seed),
              some_scales(channels, seed));
    b.floats("b" + y, {to}, some_floats(channels, 0.5f, seed));
    b.tensor(y, std::nullopt, kUnsignedParams);
    b.node("Conv", {x, "w" + y, "b" + y}, {"c" + y},
           {{"pads", {side / 2, side / 2, side / 2, side / 2}},
            {"strides", {stride, stride}},
            {"group", group}});
    b.node(side == 5 ? "HardSwish" : "Relu", {"c" + y}, {y});
  };
  b.input("x", Dims{-1, 3, 33, 35}, kSignedParams);
  conv("x", "stem", 3, 19, 3, 2, 1, 1);
  conv("stem", "depthwise3", 19, 19, 3, 1, 19, 2);
  conv("depthwise3", "pointwise", 19, 37, 1, 1, 1, 3);
  conv("pointwise", "depthwise5", 37, 37, 5, 2, 37, 4);
  conv("depthwise5", "grouped", 37, 74, 3, 1, 37, 5);
  conv("grouped", "square", 74, 40, 3, 1, 1, 6);
  b.tensor("s", std::nullopt, kUnsignedParams);
  conv("square", "again", 40, 40, 1, 1, 1, 7);
  b.node("Add", {"square", "again"}, {"s"});
  b.floats("head", {13, 40, 1, 1}, some_floats(13 * 40));
  b.node("Conv", {"s", "head"}, {"h"});
  b.node("GlobalAveragePool", {"h"}, {"pooled"});
  b.node("Softmax", {"pooled"}, {"y"}, {{"axis", 1}});
  b.output("y").output("h").output("s");
  return b;
}

std::uint64_t digest_of(const Results& results) {
  std::uint64_t digest = 14695981039346656037u;  // FNV-1a
  for (const std::vector<std::byte>& result : results) {
    for (const std::byte byte : result) {
      digest = (digest ^ static_cast<std::uint64_t>(byte)) * 1099511628211u;
    }
  }
  return digest;
}

// Finite floats of moderate size, and small integers.
std::vector<std::byte> ordinary_values(DType dtype, std::size_t count) {
  std::vector<std::byte> bytes(count * size_of(dtype));
  if (dtype == DType::kFloat32) {
    const std::vector<float> values = some_floats(count, 4.0f);
    std::memcpy(bytes.data(), values.data(), bytes.size());
  } else {
    for (std::size_t i = 0; i < count; ++i) bytes[i * size_of(dtype)] = static_cast<std::byte>(i % 2);
  }
  return bytes;
}

TEST(NetworkBits, AreThoseOfEveryProcessor) {
  Models models = example_models();
  models["mobile"] = mobile_network();
  EXPECT_EQ(models.size(), kDigests.size());
  for (const auto& [name, builder] : models) {
    const runtime::Model model = builder.model();
    std::vector<runtime::Dims> dims;
    for (const int id : model.inputs) {
      dims.push_back(small_extents(model.tensors[static_cast<std::size_t>(id)], 2));
    }
    for (const Isa isa : available_isas()) {
      const std::uint64_t digest =
          digest_of(run_on(Session(model, Session::Options{1, isa}), dims, ordinary_values));
      const auto expected = kDigests.find(name);
      EXPECT_TRUE(expected != kDigests.end() && digest == expected->second)
          << "on " << name_of(isa) << ": QSLIM_NETWORK_BITS(\"" << name << "\", 0x" << std::hex << digest
          << "u)";
    }
  }
}

}  // namespace
}  // namespace qslim::test
