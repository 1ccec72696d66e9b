// SPDX-License-Identifier: Apache-2.0
//
// ThreadPool: runs numbered tasks on a fixed number of threads, the caller being one of them.
//
// Callers cut their work into blocks of a fixed size and merge partial results in block order. Which thread
// takes which block is then of no consequence: one thread and eight give the same bits. Threads start on
// first use. After fork() the child starts its own: those of the parent do not exist there. A task that
// itself calls run() runs the inner tasks on its own thread. run() may be called from several threads; they
// take turns.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>

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

  // Calls task(i) once for every i in [0, count), in any order; rethrows the first exception it sees.
  template <class Task>
  void run(std::size_t count, const Task& task) {
    if (num_threads_ == 1 || count <= 1) {
      for (std::size_t i = 0; i < count; ++i) task(i);
      return;
    }
    run_erased(count, [](const void* t, std::size_t i) { (*static_cast<const Task*>(t))(i); }, &task);
  }

  // Cuts [0, size) into blocks of block_size, the last one shorter.
  template <class Task>
  void for_each_block(std::size_t size, std::size_t block_size, const Task& task) {
    run((size + block_size - 1) / block_size, [&](std::size_t i) {
      const std::size_t begin = i * block_size;
      task(Block{i, begin, std::min(block_size, size - begin)});
    });
  }

 private:
  using ErasedTask = void (*)(const void* task, std::size_t index);
  struct State;

  void run_erased(std::size_t count, ErasedTask call, const void* task);

  std::size_t num_threads_;
  std::unique_ptr<State> state_;
};

}  // namespace qslim
