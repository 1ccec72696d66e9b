// SPDX-License-Identifier: Apache-2.0
//
// Gather, GatherElements, GatherND and TopK.
#include <gtest/gtest.h>

#include <limits>

#include "runtime/ops/one_node.h"

namespace qslim::test {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

TEST(SelectionOperators, GatherGatherElementsAndGatherNDByIndicesOfTheRun) {
  const Floats table = {0, 1, 10, 11, 20, 21};
  const Wide wide = {2, -3, 1, 0};
  const Narrow narrow = {2, -3, 1, 0};
  const Floats rows = {20, 21, 0, 1, 10, 11, 0, 1};
  EXPECT_EQ(OneNode().floats({3, 2}, table).batched().in(Dims{2, 2}, wide).run<float>("Gather"), rows);
  EXPECT_EQ(OneNode().floats({3, 2}, table).batched().in(Dims{2, 2}, narrow).run<float>("Gather"), rows);
  const Floats x = {0, 1, 2, 3, 4, 5};
  EXPECT_EQ(OneNode().in(Dims{2, 3}, x).in(Dims{2, 2}, wide).run<float>("GatherElements", {{"axis", 1}}),
            (Floats{2, 0, 4, 3}));
  EXPECT_EQ(OneNode().in(Dims{3, 2}, x).in(Dims{2, 2}, Wide{2, 1, -1, 0}).run<float>("GatherND"),
            (Floats{5, 4}));
  for (const char* op : {"Gather", "GatherElements", "GatherND"}) {
    for (const std::int64_t wrong : {std::int64_t{3}, std::int64_t{-4}, std::int64_t{1} << 62}) {
      EXPECT_THROW(OneNode().in(Dims{3}, Floats{0, 1, 2}).in(Dims{1}, Wide{wrong}).run<float>(op),
                   InvalidArgument);
    }
  }
}

// Rows of 5 elements in groups of 2, 2 and 1.
TEST(SelectionOperators, GatherFromATableOfPackedIntegers) {
  const std::vector<std::int8_t> table = {-8, 7, 1, 0, 3, 2, -1, 5, -5, 4};
  const std::vector<float> scales = {0.5f, 1.0f, 0.25f, 2.0f, 0.125f, 3.0f};
  ModelBuilder builder;
  builder.input("i", Dims{-1}, {}, "int64")
      .packed_weights("w", {2, 5}, table, {2, 3}, scales, 0, 2)
      .node("Gather", {"w", "i"}, {"y"})
      .output("y");
  const Session session(builder.model(), Session::Options{1, default_isa()});
  const Wide indices = {1, -2};
  Floats y(10);
  std::vector<void*> targets = {y.data()};
  const std::vector<Session::Input> inputs = {{indices.data(), {2}}};
  session.run(inputs, targets);
  EXPECT_EQ(y, (Floats{4, -2, 0.625f, -0.625f, 12, -4, 3.5f, 1, 0, 0.75f}));
}

TEST(SelectionOperators, TopKOrdersTiesByPlaceAndPutsNanLast) {
  const Floats x = {3, kNan, 5, 3, 5, 1};
  const auto top = [&](bool largest, std::size_t which) {
    OneNode node;
    node.in(Dims{6}, x).constants({4});
    return which == 0 ? node.run<float>("TopK", {{"largest", largest ? 1 : 0}}) : [&] {
      const Wide places = node.run<std::int64_t>("TopK", {{"largest", largest ? 1 : 0}}, 1);
      return Floats(places.begin(), places.end());
    }();
  };
  EXPECT_EQ(top(true, 0), (Floats{5, 5, 3, 3}));
  EXPECT_EQ(top(true, 1), (Floats{2, 4, 0, 3}));
  EXPECT_EQ(top(false, 0), (Floats{1, 3, 3, 5}));
  EXPECT_EQ(top(false, 1), (Floats{5, 0, 3, 2}));
  EXPECT_THROW(OneNode().in(Dims{6}, x).constants({7}).run<float>("TopK"), InvalidArgument);
}

}  // namespace
}  // namespace qslim::test
