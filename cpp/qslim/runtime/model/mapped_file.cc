// SPDX-License-Identifier: Apache-2.0
#include "qslim/runtime/model/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "qslim/core/error.h"

namespace qslim::runtime {

MappedFile::MappedFile(const std::string& path) {
  // O_NONBLOCK: opening a pipe that nobody writes to would wait for ever.
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  QSLIM_REQUIRE(file >= 0, "cannot open model file '", path, "': ", std::strerror(errno));
  struct stat status = {};
  const bool is_file = ::fstat(file, &status) == 0 && S_ISREG(status.st_mode);
  if (is_file && status.st_size > 0) {
    size_ = static_cast<std::size_t>(status.st_size);
    data_ = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file, 0);
  }
  ::close(file);
  QSLIM_REQUIRE(is_file, "model file '", path, "': expected a file, this is something else");
  if (data_ == MAP_FAILED) {
    data_ = nullptr;
    throw InvalidArgument(concatenate("cannot map model file '", path, "' into memory"));
  }
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(data_, size_);
}

}  // namespace qslim::runtime
