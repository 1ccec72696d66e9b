// SPDX-License-Identifier: Apache-2.0
//
// Moving elements without arithmetic: what transposition, concatenation, slicing, splitting, padding,
// expansion and layout changes have in common; and the layout change at the input of a quantized network,
// which quantizes on the way.
//
//   strided_copy          destination[i . destination_strides] = source[i . source_strides], i over extent
//   strided_fill          destination[i . destination_strides] = *value
//   gather                destination[o, i, :] = source[o, indices[i], :]
//   nchw_f32_to_nhwc_u8   y[n, p, c] = clamp(round_half_even(x[n, c, p] * (1 / scale)) + zero_point, qmin, qmax)
//
// Strides count elements; a source stride of 0 repeats, negative ones run backwards. Source and destination
// do not overlap. Nothing is aligned, nothing is allocated.
#pragma once

#include <cstddef>
#include <cstdint>

#include "qslim/core/context.h"
#include "qslim/core/qparams.h"
#include "qslim/core/span.h"

namespace qslim {

struct CopyExtents {
  static constexpr std::size_t kAxes = 8;
  std::size_t extent[kAxes] = {1, 1, 1, 1, 1, 1, 1, 1};  // any order of axes
  std::ptrdiff_t source_strides[kAxes] = {};
  std::ptrdiff_t destination_strides[kAxes] = {};
};

// element_size is 1, 4 or 8 bytes.
void strided_copy(Context& context, std::size_t element_size, const CopyExtents& extents, const void* source,
                  void* destination);
// source_strides are ignored.
void strided_fill(Context& context, std::size_t element_size, const CopyExtents& extents, const void* value,
                  void* destination);

// source [outer, axis, inner], destination [outer, indices.size(), inner]. An index below 0 counts from the
// end; throws InvalidArgument where it is outside of [-axis, axis).
void gather(Context& context, std::size_t element_size, std::size_t outer, std::size_t axis,
            std::size_t inner, const void* source, Span<const std::int64_t> indices, void* destination);

// Images of `pixels` = H * W. In the NHWC array pixels lie pixel_stride >= channels apart, images follow each
// other without gaps; the gaps between pixels are not written. [qmin, qmax] is within [0, 255].
struct ImageExtents {
  std::size_t batch = 1, channels = 1, pixels = 1;
  std::size_t pixel_stride = 1;
};

void nchw_f32_to_nhwc_u8(Context& context, const ImageExtents& extents, const float* x, const QParams& params,
                         std::uint8_t* y);

}  // namespace qslim
