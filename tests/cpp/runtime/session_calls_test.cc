// SPDX-License-Identifier: Apache-2.0
//
// How a session is called: batches that are no batches, outputs of every kind, wrong calls, threads, fork and
// the profile.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "qslim/runtime/compile/inference.h"
#include "runtime/example_models.h"
#include "runtime/session_run.h"
#include "test_data.h"

namespace qslim::test {
namespace {

// ---- batches that are no batches ----

TEST(Session, ConstantsWithARowForEachImage) {
  const auto rows = some_floats(8 * 3, 1.0f, 6);
  ModelBuilder builder;
  builder.input("x", Dims{-1, 3}).floats("r", {8, 3}, rows).node("Add", {"x", "r"}, {"y"}).output("y");
  const Session session(builder.model(), Session::Options{2, default_isa()});
  const Array x{{8, 3}, some_floats(24)};
  const Array y = run(session, x);
  ASSERT_EQ(y.dims, (Dims{8, 3}));
  for (std::size_t i = 0; i < 24; ++i) EXPECT_EQ(y.values[i], x.values[i] + rows[i]);
}

TEST(Session, FixedBatch) {
  ModelBuilder builder;
  builder.input("x", Dims{4, 3}).node("Neg", {"x"}, {"y"}).output("y");
  const Session session(builder.model());
  const Array y = run(session, {{4, 3}, some_floats(12)});
  EXPECT_EQ(y.dims, (Dims{4, 3}));
  EXPECT_EQ(y.values[11], -some_floats(12)[11]);
}

TEST(Session, ShapesThatNameTheBatch) {
  ModelBuilder builder;
  builder.input("x", std::nullopt).integers("to", {8, -1}).node("Reshape", {"x", "to"}, {"y"}).output("y");
  const Session session(builder.model());
  EXPECT_EQ(run(session, {{8, 4}, some_floats(32)}).dims, (Dims{8, 4}));
  EXPECT_EQ(run(session, {{2, 4}, some_floats(8)}).dims, (Dims{8, 1}));
  EXPECT_THROW(run(session, {{1, 4}, some_floats(4)}), InvalidArgument);
}

// What is known from extents alone but differs from one image to the batch.
TEST(Session, OutputsThatCountImages) {
  ModelBuilder builder;
  builder.input("x", Dims{-1, 2, 2, 2});
  builder.tensor("s", Dims{4}, {}, "int64")
      .node("Shape", {"x"}, {"s"})
      .node("Neg", {"x"}, {"y"})
      .output("s")
      .output("y");
  const Session session(builder.model());
  const std::vector<float> x = some_floats(32);
  std::vector<std::int64_t> shape(4);
  std::vector<float> y(32);
  const std::vector<Session::Input> inputs = {{x.data(), {4, 2, 2, 2}}};
  session.run(inputs, std::vector<void*>{shape.data(), y.data()});
  EXPECT_EQ(shape, (std::vector<std::int64_t>{4, 2, 2, 2}));
  EXPECT_EQ(y[31], -x[31]);
}

TEST(Session, IntegersKeepTheirType) {
  ModelBuilder builder;
  builder.input("x", Dims{-1, 2});
  builder.node("Shape", {"x"}, {"s"}).node("Cast", {"s"}, {"c"}, {{"to", 6}}).output("c");
  const Session session(builder.model());
  const Session::OutputSpec spec = session.output_specs({{3, 2}}).at(0);
  EXPECT_EQ(spec.dtype, DType::kInt32);
  const std::vector<float> x(6);
  std::vector<std::int32_t> y(2);
  session.run(std::vector<Session::Input>{{x.data(), {3, 2}}}, std::vector<void*>{y.data()});
  EXPECT_EQ(y, (std::vector<std::int32_t>{3, 2}));
}

TEST(Session, OutputsMayBeInputsConstantsAndEachOther) {
  ModelBuilder builder;
  builder.input("x", Dims{-1, 2}, kSignedGrid).input("unread", Dims{-1, 1}).floats("c", {2}, {1.5f, -2});
  builder.node("Neg", {"x"}, {"y"}).output("x").output("c").output("y").output("y");
  const Session session(builder.model());
  const std::vector<float> x = {0.26f, -9, 1, 2}, unread(2);
  std::vector<std::vector<float>> out = {std::vector<float>(4), std::vector<float>(2), std::vector<float>(4),
                                         std::vector<float>(4)};
  session.run(std::vector<Session::Input>{{x.data(), {2, 2}}, {unread.data(), {2, 1}}},
              std::vector<void*>{out[0].data(), out[1].data(), out[2].data(), out[3].data()});
  for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(out[0][i], real(on_grid(x[i], kSignedGrid), kSignedGrid));
  EXPECT_EQ(out[1], (std::vector<float>{1.5f, -2}));
  EXPECT_EQ(out[2][1], -out[0][1]);
  EXPECT_EQ(out[2], out[3]);
}

// ---- how it is called ----

TEST(Session, RefusesWrongCalls) {
  const Session session(example_models()["conv_relu"].model());
  const std::vector<float> x(4 * 9);
  std::vector<float> y(6 * 4 * 4);
  const std::vector<Session::Input> good = {{x.data(), {1, 4, 3, 3}}};
  EXPECT_THROW(session.run({}, std::vector<void*>{y.data()}), InvalidArgument);
  EXPECT_THROW(session.run(good, {}), InvalidArgument);
  EXPECT_THROW(session.run(good, std::vector<void*>{nullptr}), InvalidArgument);
  EXPECT_THROW(
      session.run(std::vector<Session::Input>{{nullptr, {1, 4, 3, 3}}}, std::vector<void*>{y.data()}),
      InvalidArgument);
  for (const Dims& dims : {Dims{}, Dims{1, 4, 3}, Dims{1, 3, 3, 3}, Dims{1, 4, 0, 3}, Dims{-1, 4, 3, 3},
                           Dims{0, 4, 3, 3}, Dims{std::int64_t{1} << 40, 4, std::int64_t{1} << 40, 3}}) {
    EXPECT_THROW(session.output_specs({dims}), InvalidArgument) << runtime::text_of(dims);
  }
  EXPECT_EQ(session.output_specs({{1, 4, 3, 3}}).at(0).dims, (Dims{1, 6, 2, 2}));
  EXPECT_THROW(Session(example_models()["conv_relu"].model(), Session::Options{0, default_isa()}),
               InvalidArgument);
}

std::vector<std::vector<float>> outputs_of(const Session& session, const std::vector<float>& x,
                                           const Dims& dims) {
  std::vector<std::vector<float>> results;
  std::vector<void*> targets;
  for (const Session::OutputSpec& spec : session.output_specs({dims})) {
    results.emplace_back(count_of(spec.dims) * 2);  // an int64 fits, too
    targets.push_back(results.back().data());
  }
  session.run(std::vector<Session::Input>{{x.data(), dims}}, targets);
  return results;
}

TEST(Session, SeveralThreadsMayCall) {
  const Session session(example_models()["residual"].model(), Session::Options{2, default_isa()});
  const std::vector<Dims> extents = {{1, 4, 8, 8}, {3, 4, 8, 8}, {1, 4, 5, 9}, {2, 4, 16, 4}};
  std::vector<std::vector<float>> x;
  std::vector<std::vector<std::vector<float>>> expected;
  for (const Dims& dims : extents) {
    x.push_back(some_floats(count_of(dims), 6.0f, static_cast<unsigned>(dims[3])));
    expected.push_back(outputs_of(session, x.back(), dims));
  }
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (std::size_t i = 0; i < 60; ++i) {
        const std::size_t which = (i + t) % extents.size();
        if (outputs_of(session, x[which], extents[which]) != expected[which]) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong.load(), 0);
}

#if !defined(__SANITIZE_THREAD__)
TEST(Session, SurvivesFork) {
  const Session session(example_models()["residual"].model(), Session::Options{4, default_isa()});
  const Dims dims = {8, 4, 8, 8};
  const std::vector<float> x = some_floats(count_of(dims), 6.0f);
  const auto expected = outputs_of(session, x, dims);
  for (int i = 0; i < 3; ++i) {
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      // Extents that the parent has prepared, and others.
      const bool is_right =
          outputs_of(session, x, dims) == expected && !outputs_of(session, x, {4, 4, 8, 16}).empty();
      _exit(is_right ? 0 : 1);
    }
    EXPECT_EQ(outputs_of(session, x, dims), expected);
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  }
}
#endif

TEST(Session, ProfileNamesTheSteps) {
  const Session session(example_models()["residual"].model());
  const std::vector<float> x(4 * 64);
  const auto layers = session.profile(std::vector<Session::Input>{{x.data(), {1, 4, 8, 8}}}, 2);
  ASSERT_FALSE(layers.empty());
  const auto conv =
      std::find_if(layers.begin(), layers.end(), [](const auto& l) { return l.op.rfind("Conv", 0) == 0; });
  ASSERT_NE(conv, layers.end());
  EXPECT_EQ(conv->type, "int8");
  EXPECT_EQ(conv->macs, 4 * 64 * 9);
  EXPECT_GE(conv->seconds, 0);
  EXPECT_GT(session.memory().arena_bytes, 0u);
}

// Each operator of ops.inc is in one of the examples, which model_file_test breaks in every way.
TEST(Session, ExamplesUseEveryOperator) {
  std::set<std::string> used;
  for (const auto& [name, builder] : example_models()) {
    for (const Json& node : builder.graph["nodes"]) used.insert(node["op_type"].get<std::string>());
  }
  for (const char* op : {
#define QSLIM_OP(Name) #Name,
#include "qslim/runtime/ops/ops.inc"
#undef QSLIM_OP
       }) {
    EXPECT_EQ(used.count(op), 1u) << op;
  }
}

}  // namespace
}  // namespace qslim::test
