// SPDX-License-Identifier: Apache-2.0
//
// MappedFile: a file's bytes, read-only, as pages of memory.
#pragma once

#include <memory>
#include <string>

#include "qslim/core/span.h"

namespace qslim::runtime {

class MappedFile {
 public:
  // Throws InvalidArgument if `path` cannot be opened or is not a regular file.
  explicit MappedFile(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  Span<const std::byte> bytes() const noexcept { return {static_cast<const std::byte*>(data_), size_}; }

 private:
  void* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace qslim::runtime
