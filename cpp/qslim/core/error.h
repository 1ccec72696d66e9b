// SPDX-License-Identifier: Apache-2.0
//
// Errors: what a caller may catch.
//
//   InvalidArgument  the caller broke a documented rule (ValueError in Python)
//   FormatError      bytes from outside do not mean what they claim (FormatError, a ValueError, in Python)
//
// QSLIM_REQUIRE(condition, parts...) throws InvalidArgument; the parts are streamed into one sentence that
// names the parameter, the rule and the value seen. QSLIM_DCHECK is for our own bugs and costs nothing in a
// release.
#pragma once

#include <cassert>
#include <sstream>
#include <stdexcept>
#include <string>

namespace qslim {

class InvalidArgument : public std::invalid_argument {
 public:
  using std::invalid_argument::invalid_argument;
};

class FormatError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

template <class... Parts>
std::string concatenate(const Parts&... parts) {
  std::ostringstream stream;
  (stream << ... << parts);
  return stream.str();
}

}  // namespace qslim

#define QSLIM_REQUIRE(condition, ...)                                    \
  do {                                                                   \
    if (!(condition)) {                                                  \
      throw ::qslim::InvalidArgument(::qslim::concatenate(__VA_ARGS__)); \
    }                                                                    \
  } while (false)

#define QSLIM_DCHECK(condition) assert(condition)
