// SPDX-License-Identifier: Apache-2.0
//
// ReleasedGil: the GIL is free while the object lives, as with pybind11's gil_scoped_release.
//
// But a thread that takes it back while the interpreter ends gets pthread_exit() from Python (before 3.14),
// and that unwinds through C++ frames that must not be unwound: std::terminate, SIGABRT. Such a thread stops
// here instead, as Python 3.14 has it, and ends with the process.
#pragma once

#include <Python.h>
#include <cxxabi.h>
#include <unistd.h>

namespace qslim::python {

class ReleasedGil {
 public:
  ReleasedGil() : state_(PyEval_SaveThread()) {}
  ~ReleasedGil() {
    try {
      PyEval_RestoreThread(state_);
    } catch (abi::__forced_unwind&) {
      for (;;) ::pause();
    }
  }
  ReleasedGil(const ReleasedGil&) = delete;
  ReleasedGil& operator=(const ReleasedGil&) = delete;

 private:
  friend class TakenGil;
  PyThreadState* state_;
};

// Takes the GIL back while the object lives, in the thread that released it.
class TakenGil {
 public:
  explicit TakenGil(ReleasedGil& released) : released_(released) {
    try {
      PyEval_RestoreThread(released.state_);
    } catch (abi::__forced_unwind&) {
      for (;;) ::pause();
    }
  }
  ~TakenGil() { released_.state_ = PyEval_SaveThread(); }
  TakenGil(const TakenGil&) = delete;
  TakenGil& operator=(const TakenGil&) = delete;

 private:
  ReleasedGil& released_;
};

}  // namespace qslim::python
