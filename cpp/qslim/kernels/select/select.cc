// SPDX-License-Identifier: Apache-2.0
#include "qslim/kernels/select/select.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <type_traits>

namespace qslim {
namespace {

constexpr std::size_t kTask = 32 << 10;  // elements

void check_index(const char* name, std::int64_t index, std::int64_t extent) {
  QSLIM_REQUIRE(index >= -extent && index < extent, name, ": indices must lie in [", -extent, ", ", extent,
                "), got ", index);
}

std::size_t place(std::int64_t index, std::int64_t extent) {
  return static_cast<std::size_t>(index < 0 ? index + extent : index);
}

template <class T>
void gather_elements_as(Context& context, const GatherElementsExtents& e,
                        Span<const std::size_t> outer_places, Span<const std::size_t> inner_places,
                        const T* x, const std::int64_t* indices, T* y) {
  const auto extent = static_cast<std::int64_t>(e.axis);
  const std::size_t inner = inner_places.size(), rows = outer_places.size() * e.index_axis;
  context.pool().for_each_block(rows, std::max<std::size_t>(kTask / inner, 1), [&](Block block) {
    for (std::size_t row = block.begin; row < block.begin + block.size; ++row) {
      const T* const from = x + outer_places[row / e.index_axis];
      for (std::size_t n = 0; n < inner; ++n) {
        const std::size_t i = row * inner + n;
        y[i] = from[place(indices[i], extent) * e.axis_stride + inner_places[n]];
      }
    }
  });
}

// Unsigned, so that integers wrap around.
template <class T>
void sum_along(Context& context, std::size_t outer, std::size_t axis, std::size_t inner, bool exclusive,
               bool reverse, const T* x, T* y) {
  context.pool().for_each_block(outer, std::max<std::size_t>(kTask / (axis * inner), 1), [&](Block block) {
    for (std::size_t o = block.begin; o < block.begin + block.size; ++o) {
      for (std::size_t n = 0; n < inner; ++n) {
        T sum{};
        for (std::size_t i = 0; i < axis; ++i) {
          const std::size_t at = (o * axis + (reverse ? axis - 1 - i : i)) * inner + n;
          const T before = sum;
          sum += x[at];
          y[at] = exclusive ? before : sum;
        }
      }
    }
  });
}

}  // namespace

void gather_elements(Context& context, std::size_t element_size, const GatherElementsExtents& e,
                     Span<const std::size_t> outer_places, Span<const std::size_t> inner_places,
                     const void* x, const std::int64_t* indices, void* y) {
  const std::size_t count = outer_places.size() * e.index_axis * inner_places.size();
  for (std::size_t i = 0; i < count; ++i)
    check_index("gather_elements", indices[i], static_cast<std::int64_t>(e.axis));
  if (count == 0) return;
  const auto run = [&](auto element) {
    using T = decltype(element);
    gather_elements_as(context, e, outer_places, inner_places, static_cast<const T*>(x), indices,
                       static_cast<T*>(y));
  };
  switch (element_size) {
    case 1: return run(std::uint8_t{});
    case 4: return run(std::uint32_t{});
    case 8: return run(std::uint64_t{});
    default: QSLIM_REQUIRE(false, "gather_elements: element_size must be 1, 4 or 8, got ", element_size);
  }
}

void gather_nd(Context& context, std::size_t element_size, Span<const std::int64_t> dims, std::size_t inner,
               std::size_t tuples, const void* x, const std::int64_t* indices, void* y) {
  for (std::size_t i = 0; i < tuples * dims.size(); ++i)
    check_index("gather_nd", indices[i], dims[i % dims.size()]);
  const std::size_t bytes = inner * element_size;
  context.pool().for_each_block(tuples, std::max<std::size_t>(kTask / inner, 1), [&](Block block) {
    for (std::size_t i = block.begin; i < block.begin + block.size; ++i) {
      std::size_t from = 0;
      for (std::size_t d = 0; d < dims.size(); ++d) {
        from = from * static_cast<std::size_t>(dims[d]) + place(indices[i * dims.size() + d], dims[d]);
      }
      std::memcpy(static_cast<std::byte*>(y) + i * bytes, static_cast<const std::byte*>(x) + from * bytes,
                  bytes);
    }
  });
}

void top_k(std::size_t outer, std::size_t axis, std::size_t inner, std::size_t k, bool largest,
           const float* x, float* values, std::int64_t* places, std::int64_t* scratch) {
  for (std::size_t o = 0; o < outer; ++o) {
    for (std::size_t n = 0; n < inner; ++n) {
      const float* const lane = x + o * axis * inner + n;
      const auto at = [&](std::int64_t i) { return lane[static_cast<std::size_t>(i) * inner]; };
      const auto comes_first = [&](std::int64_t i, std::int64_t j) {
        const float a = at(i), b = at(j);
        const bool a_is_nan = !(a == a), b_is_nan = !(b == b);
        if (a_is_nan || b_is_nan) return a_is_nan == b_is_nan ? i < j : b_is_nan;
        if (a == b) return i < j;
        return largest ? a > b : a < b;
      };
      std::iota(scratch, scratch + axis, std::int64_t{0});
      std::partial_sort(scratch, scratch + k, scratch + axis, comes_first);
      for (std::size_t i = 0; i < k; ++i) {
        const std::size_t to = (o * k + i) * inner + n;
        values[to] = at(scratch[i]);
        places[to] = scratch[i];
      }
    }
  }
}

void cumulative_sum(Context& context, DType dtype, std::size_t outer, std::size_t axis, std::size_t inner,
                    bool exclusive, bool reverse, const void* x, void* y) {
  if (outer * axis * inner == 0) return;
  const auto run = [&](auto element) {
    using T = decltype(element);
    sum_along(context, outer, axis, inner, exclusive, reverse, static_cast<const T*>(x), static_cast<T*>(y));
  };
  switch (dtype) {
    case DType::kFloat32: return run(float{});
    case DType::kInt32: return run(std::uint32_t{});
    case DType::kInt64: return run(std::uint64_t{});
    default: QSLIM_REQUIRE(false, "cumulative_sum: is not defined for ", name_of(dtype));
  }
}

}  // namespace qslim
