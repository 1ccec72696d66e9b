// SPDX-License-Identifier: Apache-2.0
//
// The pool's threads sleep on a condition variable between jobs: qslim mostly runs inside a framework with a
// thread team of its own, and spinning would take cores from it.
#include "qslim/core/thread_pool.h"

#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "qslim/core/error.h"

namespace qslim {
namespace {

thread_local bool inside_task = false;

}  // namespace

struct ThreadPool::State {
  const pid_t owner = ::getpid();
  std::mutex turn;  // one job at a time

  std::mutex mutex;
  std::condition_variable work_is_there;
  std::condition_variable all_idle;
  std::size_t generation = 0;
  std::size_t busy = 0;
  bool stop = false;

  ErasedTask call = nullptr;
  const void* task = nullptr;
  std::size_t count = 0;
  std::atomic<std::size_t> next{0};
  std::exception_ptr error;

  std::vector<std::thread> threads;

  void start(std::size_t helpers) {
    for (std::size_t i = 0; i < helpers; ++i) threads.emplace_back([this] { serve(); });
  }

  void take_tasks() {
    inside_task = true;
    for (std::size_t i = next.fetch_add(1); i < count; i = next.fetch_add(1)) {
      try {
        call(task, i);
      } catch (...) {
        const std::lock_guard<std::mutex> lock(mutex);
        if (!error) error = std::current_exception();
      }
    }
    inside_task = false;
  }

  void serve() {
    std::size_t seen = 0;
    std::unique_lock<std::mutex> lock(mutex);
    for (;;) {
      work_is_there.wait(lock, [&] { return stop || generation != seen; });
      if (stop) return;
      seen = generation;
      lock.unlock();
      take_tasks();
      lock.lock();
      if (--busy == 0) all_idle.notify_one();
    }
  }

  ~State() {
    {
      const std::lock_guard<std::mutex> lock(mutex);
      stop = true;
    }
    work_is_there.notify_all();
    for (std::thread& thread : threads) thread.join();
  }
};

ThreadPool::ThreadPool(std::size_t num_threads) : num_threads_(num_threads) {
  QSLIM_REQUIRE(num_threads >= 1 && num_threads <= 1024, "num_threads must be in [1, 1024], got ",
                num_threads);
  if (num_threads > 1) state_ = std::make_unique<State>();
}

ThreadPool::~ThreadPool() {
  // In a forked child the parent's threads cannot be joined, nor its locks trusted: leave them.
  if (state_ && state_->owner != ::getpid()) static_cast<void>(state_.release());
}

void ThreadPool::run_erased(std::size_t count, ErasedTask call, const void* task) {
  if (inside_task) {
    for (std::size_t i = 0; i < count; ++i) call(task, i);
    return;
  }
  if (state_->owner != ::getpid()) {
    static_cast<void>(state_.release());
    state_ = std::make_unique<State>();
  }
  State& state = *state_;
  const std::lock_guard<std::mutex> turn(state.turn);
  if (state.threads.empty()) state.start(num_threads_ - 1);
  {
    const std::lock_guard<std::mutex> lock(state.mutex);
    state.call = call;
    state.task = task;
    state.count = count;
    state.next.store(0);
    state.error = nullptr;
    state.busy = state.threads.size();
    ++state.generation;
  }
  state.work_is_there.notify_all();
  state.take_tasks();
  std::unique_lock<std::mutex> lock(state.mutex);
  state.all_idle.wait(lock, [&] { return state.busy == 0; });
  if (state.error) std::rethrow_exception(state.error);
}

}  // namespace qslim
