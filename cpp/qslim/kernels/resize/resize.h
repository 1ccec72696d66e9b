// SPDX-License-Identifier: Apache-2.0
//
// Resizing images in NHWC order by tables made when the shapes are known.
//
//   nearest   y[oh, ow] = x[rows[oh], columns[ow]], elements of 1 or 4 bytes
//   bilinear  y[oh, ow] = (x[r.first, c.first] * c.w_first + x[r.first, c.second] * c.w_second) * r.w_first +
//                         (x[r.second, c.first] * c.w_first + x[r.second, c.second] * c.w_second) *
//                         r.w_second
//             float, one operation after the other as written, r = rows[oh], c = columns[ow]
//
//   cubic     y[oh, ow] = sum over the rows r of (sum over the columns c of x[r, c] * w_c) * w_r, four of each,
//             in rising order
//
// The tables follow ONNX Resize (operator set 13), computed in float as onnxruntime does.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "qslim/core/context.h"
#include "qslim/core/span.h"

namespace qslim {

enum class ResizeCoordinates : std::uint8_t { kHalfPixel, kPytorchHalfPixel, kAlignCorners, kAsymmetric };
enum class NearestRounding : std::uint8_t { kPreferFloor, kPreferCeil, kFloor, kCeil };

// Two neighbours of one output position and their weights.
struct LinearTap {
  std::int32_t first, second;
  float w_first, w_second;
};

// Four neighbours, those outside of the image replaced by its edge.
struct CubicTap {
  std::int32_t index[4];
  float weight[4];
};

// scale is output size over input size, as the model states it (the sizes may be rounded).
std::vector<std::int32_t> nearest_table(std::size_t in, std::size_t out, float scale,
                                        ResizeCoordinates coordinates, NearestRounding rounding);
std::vector<LinearTap> linear_table(std::size_t in, std::size_t out, float scale,
                                    ResizeCoordinates coordinates);

// Keys' convolution with coefficient a.
std::vector<CubicTap> cubic_table(std::size_t in, std::size_t out, float scale, ResizeCoordinates coordinates,
                                  float a);

// Rows and images of x follow each other without gaps; y may be a strided part of an image.
struct ResizeExtents {
  std::size_t batch = 1, channels = 1;
  std::size_t in_h = 1, in_w = 1;
  std::size_t x_pixel_stride = 1;
  std::size_t y_pixel_stride = 1, y_row_stride = 1, y_image_stride = 1;
};

// out_h and out_w are the sizes of the tables.
void resize_nearest(Context& context, std::size_t element_size, const ResizeExtents& extents,
                    Span<const std::int32_t> rows, Span<const std::int32_t> columns, const void* x, void* y);
void resize_bilinear(Context& context, const ResizeExtents& extents, Span<const LinearTap> rows,
                     Span<const LinearTap> columns, const float* x, float* y);
void resize_cubic(Context& context, const ResizeExtents& extents, Span<const CubicTap> rows,
                  Span<const CubicTap> columns, const float* x, float* y);

}  // namespace qslim
