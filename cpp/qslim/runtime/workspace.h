// SPDX-License-Identifier: Apache-2.0
//
// Workspaces: the memory that one run needs besides its plan, lent to the runs of a session one by one.
//
// All workspaces of a session are counted together. Where a limit leaves no room for another one, a run waits
// until one is given back. Part of session.cc; nothing else includes this.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "qslim/core/aligned_buffer.h"
#include "qslim/runtime/plan/plan.h"

namespace qslim::runtime {

// The memory that one run needs besides the plan.
struct Workspace {
  explicit Workspace(const Plan& plan)
      : arena(plan.arena_bytes + kReadSlack),
        scratch(plan.scratch_bytes + kReadSlack),
        buffers(plan.buffers.size()) {
    for (std::size_t i = 0; i < buffers.size(); ++i) {
      const Buffer& buffer = plan.buffers[i];
      if (buffer.kind == Buffer::Kind::kArena) buffers[i] = arena.data() + buffer.place;
      if (buffer.kind == Buffer::Kind::kConstant) buffers[i] = const_cast<void*>(buffer.constant.get());
    }
  }

  static std::size_t bytes_for(const Plan& plan) noexcept {
    return plan.arena_bytes + plan.scratch_bytes + 2 * kReadSlack + plan.buffers.size() * sizeof(void*);
  }

  AlignedBuffer<std::byte> arena, scratch;
  std::vector<void*> buffers;
};

// Bytes of all workspaces of a session.
using Usage = std::atomic<std::size_t>;

// Count `bytes` more if `limit` leaves room for them.
inline bool take(Usage& usage, std::size_t bytes, std::size_t limit) noexcept {
  std::size_t seen = usage.load();
  while (seen + bytes <= limit) {
    if (usage.compare_exchange_weak(seen, seen + bytes)) return true;
  }
  return false;
}

// Locks here are held for moments, and the one that has to wait for memory must not be stranded by fork().
inline void wait_a_moment() { std::this_thread::sleep_for(std::chrono::microseconds(200)); }

// A plan and the workspaces that are free.
class Prepared {
 public:
  Prepared(Plan plan, std::shared_ptr<Usage> usage) : plan_(std::move(plan)), usage_(std::move(usage)) {}
  ~Prepared() { *usage_ -= count_ * bytes_each(); }
  Prepared(const Prepared&) = delete;
  Prepared& operator=(const Prepared&) = delete;

  const Plan& plan() const noexcept { return plan_; }
  std::size_t bytes_each() const noexcept { return Workspace::bytes_for(plan_); }

  std::size_t count() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return count_;
  }

  // Make workspaces for so many images at once, or for as many as `limit` leaves room for.
  void reserve(std::size_t images, std::size_t limit) {
    const std::lock_guard<std::mutex> lock(mutex_);
    while (count_ < images && take(*usage_, bytes_each(), limit)) add();
  }

  // Lend a workspace; where `limit` leaves no room for another one, wait for one that is in use.
  std::unique_ptr<Workspace> borrow(std::size_t limit) {
    for (;;) {
      {
        const std::lock_guard<std::mutex> lock(mutex_);
        if (free_.empty() && take(*usage_, bytes_each(), limit)) add();
        if (!free_.empty()) {
          std::unique_ptr<Workspace> workspace = std::move(free_.back());
          free_.pop_back();
          return workspace;
        }
      }
      wait_a_moment();
    }
  }

  void give_back(std::unique_ptr<Workspace> workspace) noexcept {
    const std::lock_guard<std::mutex> lock(mutex_);
    free_.push_back(std::move(workspace));  // add() has made room
  }

  // Around fork(): no thread is half-way in; and in the child, the threads that had borrowed a workspace are
  // gone.
  void lock() { mutex_.lock(); }
  void unlock() { mutex_.unlock(); }
  void forget_borrowed() noexcept {
    *usage_ -= (count_ - free_.size()) * bytes_each();
    count_ = free_.size();
  }

 private:
  // Make the workspace that take() has counted.
  void add() {
    try {
      free_.reserve(count_ + 1);
      free_.push_back(std::make_unique<Workspace>(plan_));
    } catch (...) {
      *usage_ -= bytes_each();
      throw;
    }
    ++count_;
  }

  const Plan plan_;
  const std::shared_ptr<Usage> usage_;
  std::mutex mutex_;
  std::size_t count_ = 0;  // of all workspaces, borrowed ones included
  std::vector<std::unique_ptr<Workspace>> free_;
};

// Gives a borrowed workspace back at its end, also after an error.
class Borrowed {
 public:
  Borrowed(Prepared& from, std::size_t limit) : from_(from), workspace_(from.borrow(limit)) {}
  ~Borrowed() { from_.give_back(std::move(workspace_)); }
  Borrowed(const Borrowed&) = delete;
  Borrowed& operator=(const Borrowed&) = delete;
  Workspace& operator*() const noexcept { return *workspace_; }

 private:
  Prepared& from_;
  std::unique_ptr<Workspace> workspace_;
};

}  // namespace qslim::runtime
