// SPDX-License-Identifier: Apache-2.0
//
// A job is published in one atomic word: its number, whether it still takes workers, and how many are in it.
// A worker enters by compare-and-swap and only while the job is open; the caller closes it when the tasks are
// used up and waits for those inside. A worker that slept through a job is therefore never waited for.
//
// Idle workers spin for kSpin, then sleep: the layers of a network follow each other within microseconds,
// where waking a thread takes 5 to 20; and nothing burns after the last layer.
#include "qslim/core/thread_pool.h"

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#if QSLIM_BUILD_X86
#include <immintrin.h>
#endif

#include "qslim/core/error.h"

namespace qslim {
namespace {

// Longer than the longest gap between two layers that was seen, short enough not to disturb a framework that
// takes over the cores afterwards.
constexpr auto kSpin = std::chrono::microseconds(50);
constexpr int kPausesPerLook = 32;

constexpr std::uint64_t kOpen = std::uint64_t{1} << 31;
constexpr std::uint64_t kActive = kOpen - 1;  // how many workers are inside
constexpr std::uint64_t job_number(std::uint64_t word) noexcept { return word >> 32; }

// The pool whose task the calling thread runs: null outside of tasks.
thread_local const ThreadPool* current_pool = nullptr;
thread_local std::size_t worker_of_current_pool = 0;

void pause() noexcept {
#if QSLIM_BUILD_X86
  _mm_pause();
#elif QSLIM_BUILD_ARM64 && defined(__GNUC__)
  asm volatile("yield");
#endif
}

// Waits for `done` busily for a while; false if it did not come true.
template <class Done>
bool spin_until(const Done& done) {
  const auto end = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < kPausesPerLook; ++i) {
      if (done()) return true;
      pause();
    }
  } while (std::chrono::steady_clock::now() < end);
  return done();
}

}  // namespace

struct ThreadPool::State {
  const pid_t owner = ::getpid();
  std::mutex turn;  // one job at a time

  // Written by every worker, so each has a cache line of its own.
  alignas(64) std::atomic<std::uint64_t> word{0};
  alignas(64) std::atomic<std::size_t> next{0};
  alignas(64) std::atomic<std::size_t> sleepers{0};

  std::mutex mutex;
  std::condition_variable wake_up;
  std::atomic<bool> stop{false};

  ErasedTask call = nullptr;
  const void* task = nullptr;
  std::size_t count = 0;
  std::exception_ptr error;

  std::vector<std::thread> threads;
  bool is_started = false;
  std::atomic<std::size_t> refused{0};

  void start(const ThreadPool* pool, std::size_t helpers) {
    is_started = true;
    threads.reserve(helpers);
    for (std::size_t i = 0; i < helpers; ++i) {
      try {
        threads.emplace_back([this, pool, i] { serve(pool, i + 1); });
      } catch (const std::system_error&) {  // a limit on processes, or no memory for a stack
        refused = helpers - i;
        return;
      }
    }
  }

  void take_tasks(const ThreadPool* pool, std::size_t worker) {
    current_pool = pool;
    worker_of_current_pool = worker;
    for (std::size_t i = next.fetch_add(1); i < count; i = next.fetch_add(1)) {
      try {
        call(task, i, worker);
      } catch (...) {
        const std::lock_guard<std::mutex> lock(mutex);
        if (!error) error = std::current_exception();
      }
    }
    current_pool = nullptr;
  }

  // True if the calling worker is now inside job `number`.
  bool enter(std::uint64_t number) {
    std::uint64_t seen = word.load();
    while (job_number(seen) == number && (seen & kOpen) != 0) {
      if (word.compare_exchange_weak(seen, seen + 1)) return true;
    }
    return false;
  }

  void serve(const ThreadPool* pool, std::size_t worker) {
    std::uint64_t last = 0;
    const auto is_called = [&] { return stop.load() || job_number(word.load()) != last; };
    for (;;) {
      if (!spin_until(is_called)) {
        std::unique_lock<std::mutex> lock(mutex);
        sleepers.fetch_add(1);
        wake_up.wait(lock, is_called);
        sleepers.fetch_sub(1);
      }
      if (stop.load()) return;
      last = job_number(word.load());
      if (!enter(last)) continue;
      take_tasks(pool, worker);
      word.fetch_sub(1);
    }
  }

  void run(const ThreadPool* pool, std::size_t how_many, ErasedTask function, const void* argument) {
    call = function;
    task = argument;
    count = how_many;
    error = nullptr;
    next.store(0);
    word.store(((job_number(word.load()) + 1) << 32) | kOpen);
    if (sleepers.load() != 0) {
      const std::lock_guard<std::mutex> lock(mutex);
      wake_up.notify_all();
    }
    take_tasks(pool, 0);
    word.fetch_and(~kOpen);
    const auto nobody_inside = [&] { return (word.load() & kActive) == 0; };
    while (!spin_until(nobody_inside)) std::this_thread::yield();
    if (error) std::rethrow_exception(error);
  }

  ~State() {
    {
      const std::lock_guard<std::mutex> lock(mutex);
      stop = true;
    }
    wake_up.notify_all();
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

std::size_t ThreadPool::current_worker() const noexcept {
  return current_pool == this ? worker_of_current_pool : 0;
}

std::size_t ThreadPool::refused_threads() const noexcept { return state_ ? state_->refused.load() : 0; }

void ThreadPool::run_erased(std::size_t count, ErasedTask call, const void* task) {
  if (current_pool == nullptr) {
    if (state_->owner != ::getpid()) {
      static_cast<void>(state_.release());
      state_ = std::make_unique<State>();
    }
    const std::unique_lock<std::mutex> turn(state_->turn, std::try_to_lock);
    if (turn.owns_lock()) {
      if (!state_->is_started) state_->start(this, num_threads_ - 1);
      state_->run(this, count, call, task);
      return;
    }
  }
  const std::size_t worker = current_worker();
  for (std::size_t i = 0; i < count; ++i) call(task, i, worker);
}

}  // namespace qslim
