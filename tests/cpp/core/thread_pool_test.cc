// SPDX-License-Identifier: Apache-2.0
#include "qslim/core/thread_pool.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <thread>
#include <vector>

namespace qslim {
namespace {

TEST(ThreadPool, EveryTaskRunsOnce) {
  for (const std::size_t threads : {1u, 2u, 4u}) {
    ThreadPool pool(threads);
    for (int repeat = 0; repeat < 50; ++repeat) {
      std::vector<std::atomic<int>> runs(101);
      pool.run(runs.size(), [&](std::size_t i) { ++runs[i]; });
      for (const auto& count : runs) ASSERT_EQ(count, 1);
    }
  }
}

TEST(ThreadPool, BlocksCoverTheRange) {
  ThreadPool pool(2);
  std::vector<int> covered(1000, 0);
  pool.for_each_block(covered.size(), 64, [&](Block b) {
    EXPECT_EQ(b.begin, b.index * 64);
    for (std::size_t i = b.begin; i < b.begin + b.size; ++i) ++covered[i];
  });
  for (const int count : covered) ASSERT_EQ(count, 1);
  pool.for_each_block(0, 64, [](Block) { FAIL(); });
}

TEST(ThreadPool, ExceptionsReachTheCaller) {
  ThreadPool pool(3);
  const auto fail = [](std::size_t i) {
    if (i == 7) throw std::runtime_error("seven");
  };
  EXPECT_THROW(pool.run(20, fail), std::runtime_error);
  std::atomic<int> runs{0};
  pool.run(20, [&](std::size_t) { ++runs; });
  EXPECT_EQ(runs, 20);
}

TEST(ThreadPool, TasksMayRunTasks) {
  ThreadPool pool(2);
  std::atomic<int> runs{0};
  pool.run(4, [&](std::size_t) { pool.run(5, [&](std::size_t) { ++runs; }); });
  EXPECT_EQ(runs, 20);
}

TEST(ThreadPool, WorkersOfOneJobNeverShareAnIndex) {
  ThreadPool pool(4), other(1);
  std::vector<std::atomic<int>> users(pool.num_threads());
  for (int repeat = 0; repeat < 50; ++repeat) {
    pool.run(64, [&](std::size_t, std::size_t worker) {
      ASSERT_LT(worker, pool.num_threads());
      EXPECT_EQ(users[worker].fetch_add(1), 0);
      pool.run(2, [&](std::size_t, std::size_t inner) { EXPECT_EQ(inner, worker); });
      other.run(2, [&](std::size_t, std::size_t inner) { EXPECT_EQ(inner, 0u); });
      users[worker].fetch_sub(1);
    });
  }
}

TEST(ThreadPool, WakesSleepers) {
  ThreadPool pool(3);
  for (int repeat = 0; repeat < 20; ++repeat) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));  // long enough for the workers to sleep
    std::atomic<int> runs{0};
    pool.run(9, [&](std::size_t) { ++runs; });
    ASSERT_EQ(runs, 9);
  }
}

TEST(ThreadPool, SeveralCallersAtOnce) {
  ThreadPool pool(2);
  std::atomic<int> runs{0};
  std::vector<std::thread> callers;
  for (int c = 0; c < 4; ++c) {
    callers.emplace_back([&] {
      for (int r = 0; r < 50; ++r) pool.run(8, [&](std::size_t) { ++runs; });
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(runs, 4 * 50 * 8);
}

TEST(ThreadPool, WorksInAForkedChild) {
  ThreadPool pool(2);
  std::atomic<int> runs{0};
  pool.run(10, [&](std::size_t) { ++runs; });
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    runs = 0;
    pool.run(10, [&](std::size_t) { ++runs; });
    ::_exit(runs == 10 ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
  pool.run(10, [&](std::size_t) { ++runs; });
  EXPECT_EQ(runs, 20);
}

}  // namespace
}  // namespace qslim
