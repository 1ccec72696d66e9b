// SPDX-License-Identifier: Apache-2.0
//
// Pooling in NHWC order. The window of output (oh, ow) covers the input pixels
//
//   (oh * stride_h + kh * dilation_h - pad_top, ow * stride_w + kw * dilation_w - pad_left),
//   kh < kernel_h, kw < kernel_w,
//
// of which those inside the image count. Ceil mode and same padding are in out_h, out_w and the pads.
//
//   max      the largest; NaN wins. An empty window gives -inf, or 0 in stored units.
//   average  f32: the pixels are added one after the other, kh before kw, starting at +0, and divided by count
//            u8:  acc = exact int32 sum of (x - zero_point), r = float(acc) * (scale / float(count)), which a
//                 u8 result takes as q = clamp(round_half_even(r * (1 / y.scale)) + y.zero_point, qmin, qmax)
//            count is the pixels inside, or kernel_h * kernel_w with count_includes_pad. An empty window
//            gives the average 0.
//
// A window that covers the image and nothing else takes threads over channels.
// |acc| stays below 2^31 for windows of up to 2^23 pixels.
#pragma once

#include <cstddef>
#include <cstdint>

#include "qslim/core/context.h"
#include "qslim/core/qparams.h"

namespace qslim {

struct PoolGeometry {
  std::size_t channels = 1;
  std::size_t kernel_h = 1, kernel_w = 1;
  std::size_t stride_h = 1, stride_w = 1;
  std::size_t dilation_h = 1, dilation_w = 1;
  bool count_includes_pad = false;
};

// As ConvExtents: rows and images of x follow each other without gaps, y may be a strided part of an image.
struct PoolExtents {
  std::size_t batch = 1;
  std::size_t in_h = 1, in_w = 1;
  std::size_t out_h = 1, out_w = 1;
  std::ptrdiff_t pad_top = 0, pad_left = 0;
  std::size_t x_pixel_stride = 0;
  std::size_t y_pixel_stride = 0, y_row_stride = 0, y_image_stride = 0;
};

// Extents of contiguous x and y.
PoolExtents contiguous_pool_extents(const PoolGeometry& geometry, std::size_t batch, std::size_t in_h,
                                    std::size_t in_w, std::size_t out_h, std::size_t out_w,
                                    std::ptrdiff_t pad_top = 0, std::ptrdiff_t pad_left = 0);

void max_pool(Context& context, const PoolGeometry& geometry, const PoolExtents& extents,
              const std::uint8_t* x, std::uint8_t* y);
void max_pool(Context& context, const PoolGeometry& geometry, const PoolExtents& extents, const float* x,
              float* y);

void average_pool(Context& context, const PoolGeometry& geometry, const PoolExtents& extents, const float* x,
                  float* y);
// Of the input's parameters only scale and zero_point matter.
void average_pool(Context& context, const PoolGeometry& geometry, const PoolExtents& extents,
                  const std::uint8_t* x, const QParams& x_params, float* y);
void average_pool(Context& context, const PoolGeometry& geometry, const PoolExtents& extents,
                  const std::uint8_t* x, const QParams& x_params, std::uint8_t* y, const QParams& y_params);

}  // namespace qslim
