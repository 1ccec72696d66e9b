// SPDX-License-Identifier: Apache-2.0
#include "qslim/kernels/resize/resize.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "qslim/core/dispatch.h"
#include "qslim/kernels/resize/table.h"

namespace qslim {
namespace {

constexpr std::size_t kTaskBytes = 64 << 10;

// The input position of an output position.
float coordinate(std::size_t position, std::size_t in, std::size_t out, float scale, ResizeCoordinates kind) {
  const float at = static_cast<float>(position);
  switch (kind) {
    case ResizeCoordinates::kHalfPixel: return (at + 0.5f) / scale - 0.5f;
    case ResizeCoordinates::kPytorchHalfPixel: return out > 1 ? (at + 0.5f) / scale - 0.5f : 0.0f;
    case ResizeCoordinates::kAlignCorners:
      return out > 1 ? at * static_cast<float>(in - 1) / static_cast<float>(out - 1) : 0.0f;
    case ResizeCoordinates::kAsymmetric: return at / scale;
  }
  return at;
}

void check_axis(std::size_t in, float scale) {
  QSLIM_REQUIRE(in > 0, "resize: the input has no pixels");
  QSLIM_REQUIRE(scale > 0 && std::isfinite(scale), "resize: scale must be finite and > 0, got ", scale);
}

// Runs body(image, oh) for the output rows, a few per task.
template <class Body>
void for_each_row(Context& context, const ResizeExtents& e, std::size_t out_h, std::size_t row_bytes,
                  const Body& body) {
  const std::size_t rows = e.batch * out_h;
  if (rows == 0 || row_bytes == 0) return;
  const std::size_t per_task =
      rows * row_bytes <= 2 * kTaskBytes ? rows : std::max<std::size_t>(kTaskBytes / row_bytes, 1);
  context.pool().for_each_block(rows, per_task, [&](Block block) {
    for (std::size_t i = 0; i < block.size; ++i)
      body((block.begin + i) / out_h, (block.begin + i) % out_h, i == 0);
  });
}

void check(const char* name, const ResizeExtents& e) {
  QSLIM_REQUIRE(e.x_pixel_stride >= e.channels && e.y_pixel_stride >= e.channels, name,
                ": pixel strides must be at least ", e.channels, ", got ", e.x_pixel_stride, " and ",
                e.y_pixel_stride);
}

bool is_inside(std::int32_t index, std::size_t in) {
  return index >= 0 && static_cast<std::size_t>(index) < in;
}

// Pixels of up to 16 bytes: a call each would cost more than the copy.
template <std::size_t kBytes>
void copy_pixels(Span<const std::int32_t> columns, const std::byte* from, std::size_t from_step,
                 std::byte* to, std::size_t to_step) {
  for (const std::int32_t column : columns) {
    std::memcpy(to, from + static_cast<std::size_t>(column) * from_step, kBytes);
    to += to_step;
  }
}

}  // namespace

std::vector<std::int32_t> nearest_table(std::size_t in, std::size_t out, float scale,
                                        ResizeCoordinates coordinates, NearestRounding rounding) {
  check_axis(in, scale);
  std::vector<std::int32_t> table(out);
  for (std::size_t i = 0; i < out; ++i) {
    const float x = coordinate(i, in, out, scale, coordinates);
    float index = 0;
    switch (rounding) {
      case NearestRounding::kPreferFloor: index = std::ceil(x - 0.5f); break;
      case NearestRounding::kPreferCeil: index = std::floor(x + 0.5f); break;
      case NearestRounding::kFloor: index = std::floor(x); break;
      case NearestRounding::kCeil: index = std::ceil(x); break;
    }
    table[i] = static_cast<std::int32_t>(std::min(std::max(index, 0.0f), static_cast<float>(in - 1)));
  }
  return table;
}

std::vector<LinearTap> linear_table(std::size_t in, std::size_t out, float scale,
                                    ResizeCoordinates coordinates) {
  check_axis(in, scale);
  std::vector<LinearTap> table(out);
  const float last = static_cast<float>(in - 1);
  for (std::size_t i = 0; i < out; ++i) {
    const float x = std::min(std::max(coordinate(i, in, out, scale, coordinates), 0.0f), last);
    const std::int32_t first = static_cast<std::int32_t>(x);
    const std::int32_t second = std::min(first + 1, static_cast<std::int32_t>(in - 1));
    const float w_second = first == second ? 0.0f : x - static_cast<float>(first);
    table[i] = {first, second, 1.0f - w_second, w_second};
  }
  return table;
}

std::vector<CubicTap> cubic_table(std::size_t in, std::size_t out, float scale, ResizeCoordinates coordinates,
                                  float a) {
  check_axis(in, scale);
  std::vector<CubicTap> table(out);
  for (std::size_t i = 0; i < out; ++i) {
    const float x = coordinate(i, in, out, scale, coordinates);
    const float first = std::floor(x), t = x - first;
    const auto near = [a](float d) { return ((a + 2) * d - (a + 3)) * d * d + 1; };
    const auto far = [a](float d) { return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a; };
    const float weights[] = {far(t + 1), near(t), near(1 - t), far(2 - t)};
    for (int tap = 0; tap < 4; ++tap) {
      const float at = first + static_cast<float>(tap - 1);
      table[i].index[tap] =
          static_cast<std::int32_t>(std::min(std::max(at, 0.0f), static_cast<float>(in - 1)));
      table[i].weight[tap] = weights[tap];
    }
  }
  return table;
}

void resize_nearest(Context& context, std::size_t element_size, const ResizeExtents& e,
                    Span<const std::int32_t> rows, Span<const std::int32_t> columns, const void* x, void* y) {
  check("resize_nearest", e);
  QSLIM_REQUIRE(element_size == 1 || element_size == 4, "resize_nearest: element_size must be 1 or 4, got ",
                element_size);
  for (const std::int32_t row : rows)
    QSLIM_REQUIRE(is_inside(row, e.in_h), "resize_nearest: row ", row, " of ", e.in_h);
  for (const std::int32_t column : columns) {
    QSLIM_REQUIRE(is_inside(column, e.in_w), "resize_nearest: column ", column, " of ", e.in_w);
  }
  const std::size_t pixel = e.channels * element_size;
  const std::size_t from_step = e.x_pixel_stride * element_size, to_step = e.y_pixel_stride * element_size;
  const auto at_row = [&](std::size_t n, std::size_t oh) {
    return static_cast<std::byte*>(y) + (n * e.y_image_stride + oh * e.y_row_stride) * element_size;
  };
  for_each_row(
      context, e, rows.size(), columns.size() * pixel, [&](std::size_t n, std::size_t oh, bool is_first) {
        std::byte* const to = at_row(n, oh);
        if (!is_first && oh > 0 && rows[oh] == rows[oh - 1] && to_step == pixel) {
          std::memcpy(to, at_row(n, oh - 1), columns.size() * pixel);
          return;
        }
        const std::byte* const from = static_cast<const std::byte*>(x) +
                                      (n * e.in_h + static_cast<std::size_t>(rows[oh])) * e.in_w * from_step;
        switch (pixel) {
          case 1: return copy_pixels<1>(columns, from, from_step, to, to_step);
          case 3: return copy_pixels<3>(columns, from, from_step, to, to_step);
          case 4: return copy_pixels<4>(columns, from, from_step, to, to_step);
          case 8: return copy_pixels<8>(columns, from, from_step, to, to_step);
          case 12: return copy_pixels<12>(columns, from, from_step, to, to_step);
          case 16: return copy_pixels<16>(columns, from, from_step, to, to_step);
          case 32: return copy_pixels<32>(columns, from, from_step, to, to_step);
          default:
            for (std::size_t ow = 0; ow < columns.size(); ++ow) {
              std::memcpy(to + ow * to_step, from + static_cast<std::size_t>(columns[ow]) * from_step, pixel);
            }
        }
      });
}

void resize_bilinear(Context& context, const ResizeExtents& e, Span<const LinearTap> rows,
                     Span<const LinearTap> columns, const float* x, float* y) {
  check("resize_bilinear", e);
  for (const LinearTap& tap : rows) {
    QSLIM_REQUIRE(is_inside(tap.first, e.in_h) && is_inside(tap.second, e.in_h), "resize_bilinear: rows ",
                  tap.first, " and ", tap.second, " of ", e.in_h);
  }
  for (const LinearTap& tap : columns) {
    QSLIM_REQUIRE(is_inside(tap.first, e.in_w) && is_inside(tap.second, e.in_w), "resize_bilinear: columns ",
                  tap.first, " and ", tap.second, " of ", e.in_w);
  }
  const BilinearFn kernel = best_kernel(kResizeKernels, context.isa()).bilinear;
  for_each_row(context, e, rows.size(), columns.size() * e.channels * sizeof(float),
               [&](std::size_t n, std::size_t oh, bool) {
                 const std::size_t row_size = e.in_w * e.x_pixel_stride;
                 const float* const image = x + n * e.in_h * row_size;
                 const LinearTap& row = rows[oh];
                 const float* const top = image + static_cast<std::size_t>(row.first) * row_size;
                 const float* const bottom = image + static_cast<std::size_t>(row.second) * row_size;
                 float* to = y + n * e.y_image_stride + oh * e.y_row_stride;
                 for (const LinearTap& column : columns) {
                   const std::size_t left = static_cast<std::size_t>(column.first) * e.x_pixel_stride;
                   const std::size_t right = static_cast<std::size_t>(column.second) * e.x_pixel_stride;
                   const float* const neighbours[] = {top + left, top + right, bottom + left, bottom + right};
                   kernel(e.channels, neighbours,
                          {row.w_first, row.w_second, column.w_first, column.w_second}, to);
                   to += e.y_pixel_stride;
                 }
               });
}

void resize_cubic(Context& context, const ResizeExtents& e, Span<const CubicTap> rows,
                  Span<const CubicTap> columns, const float* x, float* y) {
  check("resize_cubic", e);
  for (const auto& [taps, extent] : {std::pair{rows, e.in_h}, std::pair{columns, e.in_w}}) {
    for (const CubicTap& tap : taps) {
      for (const std::int32_t index : tap.index)
        QSLIM_REQUIRE(is_inside(index, extent), "resize_cubic: row or column ", index, " of ", extent);
    }
  }
  for_each_row(context, e, rows.size(), columns.size() * e.channels * sizeof(float),
               [&](std::size_t n, std::size_t oh, bool) {
                 const std::size_t row_size = e.in_w * e.x_pixel_stride;
                 const float* const image = x + n * e.in_h * row_size;
                 float* to = y + n * e.y_image_stride + oh * e.y_row_stride;
                 for (std::size_t ow = 0; ow < columns.size(); ++ow, to += e.y_pixel_stride) {
                   for (std::size_t c = 0; c < e.channels; ++c) {
                     float sum = 0;
                     for (int r = 0; r < 4; ++r) {
                       const float* const row =
                           image + static_cast<std::size_t>(rows[oh].index[r]) * row_size + c;
                       float line = 0;
                       for (int k = 0; k < 4; ++k) {
                         const auto column = static_cast<std::size_t>(columns[ow].index[k]);
                         line += row[column * e.x_pixel_stride] * columns[ow].weight[k];
                       }
                       sum += line * rows[oh].weight[r];
                     }
                     to[c] = sum;
                   }
                 }
               });
}

}  // namespace qslim
