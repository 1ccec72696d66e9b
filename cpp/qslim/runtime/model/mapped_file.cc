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
  QSLIM_REQUIRE(path.find('\0') == std::string::npos, "a model file's path holds a NUL character");
  // O_NONBLOCK: opening a pipe without a writer would wait for ever.
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  QSLIM_REQUIRE(file >= 0, "cannot open model file '", path, "': ", std::strerror(errno));
  const std::unique_ptr<const int, void (*)(const int*)> closed(&file, [](const int* f) { ::close(*f); });
  struct stat status = {};
  QSLIM_REQUIRE(::fstat(file, &status) == 0 && S_ISREG(status.st_mode), "model file '", path,
                "': expected a file, this is something else");
  size_ = static_cast<std::size_t>(status.st_size);
  if (size_ <= kMostRead) {
    read(file, path);
    return;
  }
  pages_ = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file, 0);
  if (pages_ == MAP_FAILED) {
    pages_ = nullptr;
    throw InvalidArgument(concatenate("cannot map model file '", path, "' into memory"));
  }
}

void MappedFile::read(int file, const std::string& path) {
  copy_ = AlignedBuffer<std::byte>(size_);
  std::size_t done = 0;
  while (done < size_) {
    const ssize_t count = ::read(file, copy_.data() + done, size_ - done);
    if (count < 0 && errno == EINTR) continue;
    QSLIM_REQUIRE(count >= 0, "cannot read model file '", path, "': ", std::strerror(errno));
    if (count == 0) break;  // it was cut since it was opened: the rest is missing, and is found to be
    done += static_cast<std::size_t>(count);
  }
  size_ = done;
}

MappedFile::~MappedFile() {
  if (pages_ != nullptr) ::munmap(pages_, size_);
}

}  // namespace qslim::runtime
