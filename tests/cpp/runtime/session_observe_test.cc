// SPDX-License-Identifier: Apache-2.0
//
// Sessions that show their outputs: the same bits as run(), the memory of one output less, errors of observers.
#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "qslim/core/dtype.h"
#include "qslim/runtime/lowering/infer_context.h"
#include "runtime/example_models.h"
#include "runtime/session_run.h"

namespace qslim::test {
namespace {

using Bytes = std::vector<std::byte>;

std::size_t bytes_of(const Dims& dims, DType dtype) { return count_of(dims) * size_of(dtype); }

Session::Options observing(std::size_t threads = 1) {
  Session::Options options{threads, default_isa()};
  options.observes = true;
  return options;
}

// Small inputs of those extents, all of them floats or small integers.
struct Feed {
  explicit Feed(const Session& session, std::int64_t images) {
    for (const Session::Signature& input : session.inputs()) {
      Dims dims = input.shape ? *input.shape : Dims{images, 3, 4};
      for (std::size_t i = 0; i < dims.size(); ++i) {
        if (dims[i] == runtime::kUnknownExtent) dims[i] = i == 0 ? images : 8;
      }
      Bytes data(bytes_of(dims, input.dtype));
      if (input.dtype == DType::kFloat32) {
        const std::vector<float> values = some_floats(count_of(dims), 2.0f);
        if (!values.empty()) std::memcpy(data.data(), values.data(), data.size());
      }
      arrays.push_back(std::move(data));
      extents.push_back(dims);
    }
    for (std::size_t i = 0; i < arrays.size(); ++i) inputs.push_back({arrays[i].data(), extents[i]});
  }
  std::vector<Bytes> arrays;
  std::vector<Dims> extents;
  std::vector<Session::Input> inputs;
};

std::vector<Bytes> run_all(const Session& session, const Feed& feed) {
  std::vector<Bytes> results;
  std::vector<void*> targets;
  for (const Session::OutputSpec& spec : session.output_specs(feed.extents))
    results.emplace_back(bytes_of(spec.dims, spec.dtype) + 1);
  for (Bytes& result : results) targets.push_back(result.data());
  session.run(feed.inputs, targets);
  for (Bytes& result : results) result.pop_back();
  return results;
}

std::vector<Bytes> observe_all(const Session& session, const Feed& feed) {
  std::vector<Bytes> results(session.outputs().size());
  session.observe(feed.inputs, [&](const Session::Shown& shown) {
    const auto* const data = static_cast<const std::byte*>(shown.data);
    Bytes& result = results[shown.output];
    const std::size_t bytes = bytes_of(shown.dims, shown.dtype);
    EXPECT_EQ(result.size(), shown.image * bytes);
    result.insert(result.end(), data, data + bytes);
  });
  return results;
}

// The model with every tensor that a node writes as an output, where it is of floats.
ModelBuilder with_all_outputs(const ModelBuilder& builder) {
  ModelBuilder all = builder;
  for (const Json& node : builder.graph["nodes"]) {
    for (const Json& output : node["outputs"]) {
      ModelBuilder one = all;
      one.output(output.get<std::string>());
      try {
        const Session session(one.model());
        session.output_specs(Feed(session, 1).extents);
        all = one;
      } catch (const InvalidArgument&) {  // integers
      }
    }
  }
  return all;
}

TEST(SessionObserve, SameBitsAsRun) {
  for (const auto& [name, example] : example_models()) {
    for (const ModelBuilder& builder : {example, with_all_outputs(example)}) {
      for (const std::size_t threads : {1, 2}) {
        const Session returning(builder.model(), {threads, default_isa()});
        const Session showing(builder.model(), observing(threads));
        for (const std::int64_t images : {1, 3}) {
          const Feed feed(returning, images);
          try {
            returning.output_specs(feed.extents);
          } catch (const InvalidArgument&) {
            continue;  // one of the examples takes single images only
          }
          EXPECT_EQ(observe_all(showing, feed), run_all(returning, feed)) << name << ", " << images;
        }
      }
    }
  }
}

// An input, a constant, an output that others read, and one that is listed twice.
ModelBuilder with_special_outputs() {
  ModelBuilder builder;
  builder.input("x", Dims{-1, 4})
      .floats("c", {3}, {1, 2, 3})
      .node("Neg", {"x"}, {"y"})
      .node("Relu", {"y"}, {"z"})
      .node("Exp", {"x"}, {"unread"})
      .output("x")
      .output("c")
      .output("y")
      .output("z")
      .output("y")
      .output("unread");
  return builder;
}

TEST(SessionObserve, InputsConstantsAndOutputsListedTwice) {
  const Session returning(with_special_outputs().model()),
      showing(with_special_outputs().model(), observing());
  const Feed feed(returning, 2);
  EXPECT_EQ(observe_all(showing, feed), run_all(returning, feed));
}

TEST(SessionObserve, ImageByImageOrAtOnce) {
  ModelBuilder builder;
  builder.input("x", Dims{-1, 4}).node("Neg", {"x"}, {"y"}).output("y");
  Session::Options options = observing();
  for (const bool splits : {true, false}) {
    options.splits_batches = splits;
    const Session session(builder.model(), options);
    const Feed feed(session, 3);
    EXPECT_EQ(session.images_apart(feed.extents), splits ? 3 : 1);
    std::vector<std::int64_t> rows;
    session.observe(feed.inputs, [&](const Session::Shown& shown) { rows.push_back(shown.dims[0]); });
    EXPECT_EQ(rows, splits ? std::vector<std::int64_t>(3, 1) : std::vector<std::int64_t>{3});
  }
}

// A chain of tensors that are all shown needs room for its ends, not for all of them, and the last extents alone
// keep memory.
TEST(SessionObserve, MemoryIsThatOfPlainInference) {
  const auto chain = [](bool all) {
    ModelBuilder builder;
    builder.input("x", Dims{-1, -1});
    for (int i = 0; i < 20; ++i) {
      builder.node("Neg", {i == 0 ? "x" : "t" + std::to_string(i - 1)}, {"t" + std::to_string(i)});
      if (all || i == 19) builder.output("t" + std::to_string(i));
    }
    return builder.model();
  };
  const Session showing(chain(true), observing());
  const auto observe = [&](std::int64_t columns) {
    const std::vector<float> x(static_cast<std::size_t>(columns));
    const std::vector<Session::Input> inputs = {{x.data(), {1, columns}}};
    showing.observe(inputs, [](const Session::Shown&) {});
    return showing.memory().arena_bytes;
  };
  const std::size_t slack = 1 << 12;
  EXPECT_LE(observe(100000), 2 * 100000 * sizeof(float) + slack);
  EXPECT_LE(observe(1000), 2 * 1000 * sizeof(float) + slack);
}

TEST(SessionObserve, ErrorsPassThroughAndTheSessionGoesOn) {
  const ModelBuilder builder = with_special_outputs();
  const Session session(builder.model(), observing());
  const Feed feed(session, 2);
  const auto observer = [](const Session::Shown&) { throw std::out_of_range("of an observer"); };
  for (int i = 0; i < 3; ++i) EXPECT_THROW(session.observe(feed.inputs, observer), std::out_of_range);
  EXPECT_EQ(observe_all(session, feed), run_all(Session(builder.model()), feed));
  EXPECT_FALSE(session.profile(feed.inputs, 1).empty());
}

TEST(SessionObserve, EachKindOfSessionHasItsCall) {
  const ModelBuilder builder = with_special_outputs();
  const Session returning(builder.model()), showing(builder.model(), observing());
  const Feed feed(returning, 1);
  EXPECT_THROW(returning.observe(feed.inputs, [](const Session::Shown&) {}), InvalidArgument);
  EXPECT_THROW(run_all(showing, feed), InvalidArgument);
  Session::Options options = observing();
  options.max_memory = 1 << 10;
  const Session small(builder.model(), options);
  EXPECT_THROW(small.observe(Feed(small, 1000).inputs, [](const Session::Shown&) {}), InvalidArgument);
}

}  // namespace
}  // namespace qslim::test
