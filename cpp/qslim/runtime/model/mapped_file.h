// SPDX-License-Identifier: Apache-2.0
//
// MappedFile: a file's bytes, read-only. A file of up to 64 MiB is read, a larger one mapped as pages of
// memory.
//
// If a file is cut while it is mapped, reading the pages that are gone ends the process (SIGBUS). Replace
// models by writing a new file and renaming it, as qslim's writers do.
#pragma once

#include <memory>
#include <string>

#include "qslim/core/aligned_buffer.h"
#include "qslim/core/span.h"

namespace qslim::runtime {

class MappedFile {
 public:
  // Throw InvalidArgument if `path` cannot be opened or read, or is not a regular file.
  explicit MappedFile(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  Span<const std::byte> bytes() const noexcept {
    return {pages_ != nullptr ? static_cast<const std::byte*>(pages_) : copy_.data(), size_};
  }

 private:
  static constexpr std::size_t kMostRead = std::size_t{64} << 20;

  void read(int file, const std::string& path);

  void* pages_ = nullptr;
  AlignedBuffer<std::byte> copy_;
  std::size_t size_ = 0;
};

}  // namespace qslim::runtime
