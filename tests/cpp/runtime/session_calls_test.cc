// SPDX-License-Identifier: Apache-2.0
//
// Calls of a session: batches that are no batches, outputs of every kind, wrong calls, threads, fork and
// the profile.
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "qslim/runtime/lowering/infer_context.h"
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

// A value that follows from extents alone but differs from one image to the batch.
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
  builder.node("Shape", {"x"}, {"s"}).node("Cast", {"s"}, {"c"}, {{"to", 6}}).output("c", "int32");
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
  builder.input("x", Dims{-1, 2}, kSignedParams).input("unread", Dims{-1, 1}).floats("c", {2}, {1.5f, -2});
  builder.node("Neg", {"x"}, {"y"}).output("x").output("c").output("y").output("y");
  const Session session(builder.model());
  const std::vector<float> x = {0.26f, -9, 1, 2}, unread(2);
  std::vector<std::vector<float>> out = {std::vector<float>(4), std::vector<float>(2), std::vector<float>(4),
                                         std::vector<float>(4)};
  session.run(std::vector<Session::Input>{{x.data(), {2, 2}}, {unread.data(), {2, 1}}},
              std::vector<void*>{out[0].data(), out[1].data(), out[2].data(), out[3].data()});
  for (std::size_t i = 0; i < 4; ++i)
    EXPECT_EQ(out[0][i], real(quantized(x[i], kSignedParams), kSignedParams));
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

// The sanitizers' own locks may be held by another thread when the process forks.
#if !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)
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
#define QSLIM_OP(Name, movement) #Name,
#include "qslim/runtime/ops/ops.inc"
#undef QSLIM_OP
       }) {
    EXPECT_EQ(used.count(op), 1u) << op;
  }
}

// ---- memory ----

// One float32 tensor of `extent` elements in, one out, and the reversed one between them.
ModelBuilder two_buffers() {
  ModelBuilder builder;
  builder.input("x", Dims{1, -1}).node("Softmax", {"x"}, {"s"}).node("CumSum", {"s", "axis"}, {"c"});
  builder.integers("axis", {1});
  builder.node("Softmax", {"c"}, {"y"}).output("y");
  return builder;
}

void run_with(const Session& session, std::int64_t extent) {
  std::vector<float> x(static_cast<std::size_t>(extent), 1.0f), y(x.size());
  session.run(std::vector<Session::Input>{{x.data(), {1, extent}}}, std::vector<void*>{y.data()});
  EXPECT_GT(y[0], 0.0f);
}

std::size_t held(const Session& session) {
  const Session::Memory memory = session.memory();
  return memory.arena_bytes + memory.scratch_bytes + memory.packed_bytes;
}

TEST(Session, MemoryCountsAllPlansThatAreKept) {
  const Session session(two_buffers().model());
  run_with(session, 100000);
  const std::size_t one = held(session);
  EXPECT_GT(one, 400000u);
  run_with(session, 100001);
  EXPECT_GT(held(session), 2 * one - 1000);
}

TEST(Session, PlansGiveWayToMaxMemory) {
  Session::Options options;
  options.max_memory = 2000000;
  const Session session(two_buffers().model(), options);
  for (std::int64_t i = 0; i < 8; ++i) {
    run_with(session, 100000 + i);
    EXPECT_LE(held(session), options.max_memory);
  }
  EXPECT_GT(held(session), 0u);
  EXPECT_THROW(run_with(session, 10000000), InvalidArgument);
  run_with(session, 100000);
}

TEST(Session, ThreadsShareTheMemoryThatThereIs) {
  Session::Options options;
  options.max_memory = 2000000;  // for two runs, and eight threads run
  const Session session(two_buffers().model(), options);
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 20; ++i) run_with(session, 100000 + (t + i) % 3);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(held(session), options.max_memory);
}

TEST(Session, MemoryThatIsNotThereIsAnError) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "sanitizers take all of the address space";
#endif
  Session::Options options;
  options.max_memory = std::size_t{1} << 62;
  const Session session(two_buffers().model(), options);
  const Dims dims = {1, (std::int64_t{1} << 31) - 8};
  const rlimit unlimited = [] {
    rlimit limit;
    getrlimit(RLIMIT_AS, &limit);
    return limit;
  }();
  rlimit little = unlimited;
  little.rlim_cur = std::size_t{4} << 30;
  float x = 0, y = 0;  // nobody comes to read or write them
  setrlimit(RLIMIT_AS, &little);
  std::string message;
  try {
    session.run(std::vector<Session::Input>{{&x, dims}}, std::vector<void*>{&y});
  } catch (const InvalidArgument& error) {
    message = error.what();
  }
  setrlimit(RLIMIT_AS, &unlimited);
  EXPECT_NE(message.find("not enough memory"), std::string::npos) << message;
}

TEST(Session, OutputIsWhatTheFileSays) {
  ModelBuilder builder;
  builder.input("x", Dims{-1, 4}).node("Relu", {"x"}, {"y"}).output("y", "int64");
  EXPECT_THROW(Session(builder.model()), InvalidArgument);
  ModelBuilder wider;
  wider.input("x", Dims{-1, 4}).tensor("y", Dims{-1, 5}).node("Relu", {"x"}, {"y"}).output("y");
  EXPECT_THROW(Session(wider.model()), InvalidArgument);
}

// ---- fork ----

// The child could find a lock held by a thread that it does not have.
TEST(Session, ForkedWhileAnotherThreadPreparesExtents) {
  const Session session(two_buffers().model(), Session::Options{2, default_isa()});
  std::atomic<bool> stop{false};
  std::thread other([&] {
    for (std::int64_t i = 0; !stop; ++i) run_with(session, 10 + i % 40);
  });
  int failed = 0;
  for (int i = 0; i < 40; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      alarm(5);
      for (std::int64_t extent = 5; extent < 30; ++extent) run_with(session, extent);
      _exit(testing::Test::HasFailure() ? 1 : 0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    failed += status != 0;
  }
  stop = true;
  other.join();
  EXPECT_EQ(failed, 0);
}

// ---- size ----

TEST(Session, HundredThousandNodesAndInputsOpenInTime) {
  const auto seconds = [](const ModelBuilder& builder) {
    const std::vector<std::byte> bytes = builder.file();
    const auto owner = std::make_shared<const std::vector<std::byte>>(bytes);
    const auto begin = std::chrono::steady_clock::now();
    const Session session(runtime::parse_model({owner->data(), owner->size()}, owner));
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  };
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  constexpr double kMost = 60;
#else
  constexpr double kMost = 3;  // under one on an idle machine; what is quadratic takes minutes
#endif
  constexpr int kCount = kMost > 10 ? 10000 : 100000;
  ModelBuilder chain, wide, inputs, fan;
  std::string last = "x";
  chain.input("x", Dims{1, 4});
  for (int i = 0; i < kCount; ++i) {
    const std::string next = "t" + std::to_string(i);
    chain.node(i % 2 == 0 ? "Softmax" : "CumSum",
               i % 2 == 0 ? std::vector<std::string>{last} : std::vector<std::string>{last, "axis"}, {next});
    last = next;
  }
  chain.integers("axis", {1}).output(last);
  std::vector<std::string> names;
  for (int i = 0; i < kCount; ++i) names.push_back("x" + std::to_string(i));
  for (const std::string& name : names) inputs.input(name, Dims{1, 1});
  inputs.node("Concat", names, {"y"}, {{"axis", 1}}).output("y");
  wide.input("x", Dims{1, 4});
  fan.input("x", Dims{1, 4});
  names.resize(kCount / 5);
  for (const std::string& name : names) {
    fan.node("Softmax", {"x"}, {name});
    wide.tensor(name, Dims{1, 4}, QParams{0.01f, 0, -32768, 32767}).node("Softmax", {"x"}, {name});
  }
  fan.node("Concat", names, {"y"}, {{"axis", 1}}).output("y");
  wide.output(names[0]);
  EXPECT_LT(seconds(chain), kMost);
  EXPECT_LT(seconds(inputs), kMost);
  EXPECT_LT(seconds(fan), kMost);
  EXPECT_LT(seconds(wide), kMost);
}

}  // namespace
}  // namespace qslim::test
