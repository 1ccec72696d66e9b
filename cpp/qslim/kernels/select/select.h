// SPDX-License-Identifier: Apache-2.0
//
// Elements chosen by indices that are known at run time only, and operations that go along one axis in order.
//
//   gather_elements  y[o, i, n] = x[o, indices[o, i, n], n], o and n of the indices: ONNX GatherElements
//   gather_nd        y[i, :] = x[indices[i, 0], indices[i, 1], ..., :]
//   top_k            the k largest or smallest along the axis, in order; of equals the one that comes first
//   cumulative_sum   y[i] = x[0] + ... + x[i], one addition after the other
//
// Arrays are [outer, axis, inner]. Indices below 0 count from the end; InvalidArgument is thrown where one is
// out of range, before anything is written. A NaN comes last in top_k. Allocates nothing.
#pragma once

#include <cstddef>
#include <cstdint>

#include "qslim/core/context.h"
#include "qslim/core/dtype.h"
#include "qslim/core/span.h"

namespace qslim {

// x [outer, axis, inner] and indices, y [index_outer, index_axis, index_inner], whose outer and inner axes
// are [0, extent) parts of those of x; `outer_places` and `inner_places` say where in x each of them is, in
// elements.
struct GatherElementsExtents {
  std::size_t axis = 1, axis_stride = 1;  // of x
  std::size_t index_axis = 1;
};

void gather_elements(Context& context, std::size_t element_size, const GatherElementsExtents& extents,
                     Span<const std::size_t> outer_places, Span<const std::size_t> inner_places,
                     const void* x, const std::int64_t* indices, void* y);

// indices [tuples, dims.size()] into the leading axes `dims` of x, whose rest is `inner` elements.
void gather_nd(Context& context, std::size_t element_size, Span<const std::int64_t> dims, std::size_t inner,
               std::size_t tuples, const void* x, const std::int64_t* indices, void* y);

// values and places [outer, k, inner]; scratch holds `axis` indices.
void top_k(std::size_t outer, std::size_t axis, std::size_t inner, std::size_t k, bool largest,
           const float* x, float* values, std::int64_t* places, std::int64_t* scratch);

// float32, int32 or int64. An exclusive sum leaves x[i] out; a reversed one begins at the end.
void cumulative_sum(Context& context, DType dtype, std::size_t outer, std::size_t axis, std::size_t inner,
                    bool exclusive, bool reverse, const void* x, void* y);

}  // namespace qslim
