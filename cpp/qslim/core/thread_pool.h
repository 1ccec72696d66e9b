// SPDX-License-Identifier: Apache-2.0
//
// ThreadPool: runs numbered tasks on a fixed number of threads, the caller being one of them.
//
// Callers cut their work into blocks of a fixed size and merge partial results in block order. Which thread
// takes which block changes nothing then: one thread and eight give the same bits. A task is called as
// task(index) or task(index, worker), where worker < num_threads() tells the threads of one job apart: it
// picks scratch memory. Threads start on first use. After fork() the child starts its own: those of the
// parent do not exist there. A task that itself calls run() runs the inner tasks on its own thread; so does a
// second thread that calls run() while the first one's job is on.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <type_traits>

namespace qslim {

struct Block {
  std::size_t index;
  std::size_t begin;
  std::size_t size;
};

class ThreadPool {
 public:
  explicit ThreadPool(std::size_t num_threads = 1);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  std::size_t num_threads() const noexcept { return num_threads_; }

  // Return the number of threads that the system refused to start, in the first job; the others do the work.
  std::size_t refused_threads() const noexcept;

  // Call the task once for every index in [0, count), in any order; rethrow the first exception.
  template <class Task>
  void run(std::size_t count, const Task& task) {
    if (num_threads_ == 1 || count <= 1) {
      const std::size_t worker = current_worker();
      for (std::size_t i = 0; i < count; ++i) invoke(task, i, worker);
      return;
    }
    run_erased(
        count,
        [](const void* t, std::size_t i, std::size_t worker) {
          invoke(*static_cast<const Task*>(t), i, worker);
        },
        &task);
  }

  // Cut [0, size) into blocks of block_size, the last one shorter, and call the task for each.
  template <class Task>
  void for_each_block(std::size_t size, std::size_t block_size, const Task& task) {
    run((size + block_size - 1) / block_size, [&](std::size_t i) {
      const std::size_t begin = i * block_size;
      task(Block{i, begin, std::min(block_size, size - begin)});
    });
  }

 private:
  using ErasedTask = void (*)(const void* task, std::size_t index, std::size_t worker);
  struct State;

  template <class Task>
  static void invoke(const Task& task, std::size_t index, std::size_t worker) {
    if constexpr (std::is_invocable_v<const Task&, std::size_t, std::size_t>) {
      task(index, worker);
    } else {
      task(index);
    }
  }

  std::size_t current_worker() const noexcept;
  void run_erased(std::size_t count, ErasedTask call, const void* task);

  std::size_t num_threads_;
  std::unique_ptr<State> state_;
};

}  // namespace qslim
