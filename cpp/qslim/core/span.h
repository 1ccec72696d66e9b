// SPDX-License-Identifier: Apache-2.0
//
// Span: a pointer and a length that own nothing (C++17 has no std::span).
#pragma once

#include <cstddef>
#include <type_traits>
#include <vector>

#include "qslim/core/error.h"

namespace qslim {

template <class T>
class Span {
 public:
  constexpr Span() noexcept = default;
  constexpr Span(T* data, std::size_t size) noexcept : data_(data), size_(size) {}

  // Span<T> to Span<const T>, and from a vector; both views end with what they look at.
  template <class U, class = std::enable_if_t<std::is_convertible_v<U (*)[], T (*)[]>>>
  constexpr Span(const Span<U>& other) noexcept : data_(other.data()), size_(other.size()) {}
  template <class U, class = std::enable_if_t<std::is_convertible_v<U (*)[], T (*)[]>>>
  Span(std::vector<U>& owner) noexcept : data_(owner.data()), size_(owner.size()) {}
  template <class U, class = std::enable_if_t<std::is_convertible_v<const U (*)[], T (*)[]>>>
  Span(const std::vector<U>& owner) noexcept : data_(owner.data()), size_(owner.size()) {}

  constexpr T* data() const noexcept { return data_; }
  constexpr std::size_t size() const noexcept { return size_; }
  constexpr bool empty() const noexcept { return size_ == 0; }
  constexpr T* begin() const noexcept { return data_; }
  constexpr T* end() const noexcept { return data_ + size_; }

  T& operator[](std::size_t i) const {
    QSLIM_DCHECK(i < size_);
    return data_[i];
  }
  Span subspan(std::size_t offset, std::size_t count) const {
    QSLIM_DCHECK(offset <= size_ && count <= size_ - offset);
    return Span(data_ + offset, count);
  }

 private:
  T* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace qslim
