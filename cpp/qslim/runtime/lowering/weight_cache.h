// SPDX-License-Identifier: Apache-2.0
//
// WeightCache: packed convolutions and transposed constants, made once and shared by all plans of a session.
// The key is a text that names the node and everything else that the result depends on.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

namespace qslim::runtime {

class WeightCache {
 public:
  template <class T, class Make>
  std::shared_ptr<const T> get(const std::string& key, const Make& make) {
    const std::lock_guard<std::mutex> lock(mutex_);
    std::shared_ptr<const void>& entry = entries_[key];
    if (!entry) entry = std::make_shared<const T>(make());
    return std::static_pointer_cast<const T>(entry);
  }

  // Bytes that the entries take, as their makers report them.
  void add_bytes(std::size_t bytes) noexcept { bytes_ += bytes; }
  std::size_t bytes() const noexcept { return bytes_; }

 private:
  std::mutex mutex_;
  std::atomic<std::size_t> bytes_{0};
  std::unordered_map<std::string, std::shared_ptr<const void>> entries_;
};

}  // namespace qslim::runtime
