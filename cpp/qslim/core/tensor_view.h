// SPDX-License-Identifier: Apache-2.0
//
// TensorView: C-contiguous elements and their shape, owning neither the elements nor a thread.
// ChannelExtents: a tensor as the per-channel kernels see it, x[outer, channels, inner].
//
//   shape (8, 512, 14, 14), quant_axis 1  ->  [8, 512, 196]     activations, NCHW
//   shape (512, 256, 3, 3), quant_axis 0  ->  [1, 512, 2304]    convolution weights, OIHW
//   shape (1024, 1000),     quant_axis 1  ->  [1024, 1000, 1]   linear weights, [in, out]
//   one threshold for the whole tensor    ->  [1, 1, size]
#pragma once

#include <cstddef>
#include <vector>

#include "qslim/core/error.h"
#include "qslim/core/span.h"

namespace qslim {

using Shape = std::vector<std::size_t>;

inline std::size_t element_count(const Shape& shape) noexcept {
  std::size_t count = 1;
  for (const std::size_t extent : shape) count *= extent;
  return count;
}

template <class T>
struct TensorView {
  T* data = nullptr;
  Shape shape;

  std::size_t size() const noexcept { return element_count(shape); }
  Span<T> elements() const noexcept { return Span<T>(data, size()); }
};

struct ChannelExtents {
  std::size_t outer = 1;
  std::size_t channels = 1;
  std::size_t inner = 0;

  std::size_t size() const noexcept { return outer * channels * inner; }
};

inline ChannelExtents whole_tensor(std::size_t size) noexcept { return ChannelExtents{1, 1, size}; }

// One channel is one row, however its extents came about.
inline ChannelExtents normalized(const ChannelExtents& e) noexcept {
  return e.channels == 1 ? whole_tensor(e.size()) : e;
}

// A negative axis counts from the end, as in NumPy.
inline ChannelExtents channel_extents(const Shape& shape, std::ptrdiff_t quant_axis) {
  const auto rank = static_cast<std::ptrdiff_t>(shape.size());
  QSLIM_REQUIRE(quant_axis >= -rank && quant_axis < rank, "quant_axis must be in [", -rank, ", ", rank - 1,
                "] for an array of ", rank, " dimensions, got ", quant_axis);
  const auto axis = static_cast<std::size_t>(quant_axis < 0 ? quant_axis + rank : quant_axis);
  ChannelExtents extents{1, shape[axis], 1};
  for (std::size_t i = 0; i < axis; ++i) extents.outer *= shape[i];
  for (std::size_t i = axis + 1; i < shape.size(); ++i) extents.inner *= shape[i];
  return extents;
}

}  // namespace qslim
