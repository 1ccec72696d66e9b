// SPDX-License-Identifier: Apache-2.0
//
// Context: the threads and the instruction set of calls. Passed, never global.
// Making one costs next to nothing while it has a single thread.
#pragma once

#include <cstddef>

#include "qslim/core/error.h"
#include "qslim/core/isa.h"
#include "qslim/core/thread_pool.h"

namespace qslim {

class Context {
 public:
  explicit Context(std::size_t num_threads = 1) : Context(num_threads, default_isa()) {}

  Context(std::size_t num_threads, Isa isa) : pool_(num_threads), isa_(isa) {
    QSLIM_REQUIRE(is_supported(isa), "isa '", name_of(isa), "' is not available on this machine, which has '",
                  name_of(detected_isa()), "'");
  }

  ThreadPool& pool() noexcept { return pool_; }
  Isa isa() const noexcept { return isa_; }

 private:
  ThreadPool pool_;
  Isa isa_;
};

}  // namespace qslim
