// SPDX-License-Identifier: Apache-2.0
//
// Resized images against the formulas of the header, and the tables against those of ONNX.
#include "qslim/kernels/resize/resize.h"

#include <gtest/gtest.h>

#include "kernels/kernel_rows.h"
#include "qslim/kernels/resize/table.h"
#include "test_data.h"

namespace qslim {
namespace {

using test::expect_same_bits;
using test::GuardedArray;
using Coordinates = ResizeCoordinates;
using Rounding = NearestRounding;

class ResizeNearest : public test::KernelTest<ResizeKernels> {};
QSLIM_TEST_KERNEL_ROWS(ResizeNearest, "resize", kResizeKernels);

class ResizeBilinear : public test::KernelTest<ResizeKernels> {};
QSLIM_TEST_KERNEL_ROWS(ResizeBilinear, "resize", kResizeKernels);

ResizeExtents make(std::size_t batch, std::size_t channels, std::size_t in_h, std::size_t in_w,
                   std::size_t out_h, std::size_t out_w, std::size_t gap) {
  ResizeExtents e{batch, channels, in_h, in_w, channels + gap, channels + gap, 0, 0};
  e.y_row_stride = out_w * e.y_pixel_stride + gap;
  e.y_image_stride = out_h * e.y_row_stride + gap;
  return e;
}

template <class T, class Reference, class Run>
void check(Isa isa, const ResizeExtents& e, std::size_t out_h, std::size_t out_w, const Reference& reference,
           const Run& run) {
  const std::size_t size = e.batch * e.y_image_stride;
  std::vector<T> expected(size, T{7});
  for (std::size_t n = 0; n < e.batch; ++n) {
    for (std::size_t oh = 0; oh < out_h; ++oh) {
      for (std::size_t ow = 0; ow < out_w; ++ow) {
        for (std::size_t c = 0; c < e.channels; ++c) {
          const auto at = [&](std::size_t ih, std::size_t iw) {
            return ((n * e.in_h + ih) * e.in_w + iw) * e.x_pixel_stride + c;
          };
          expected[n * e.y_image_stride + oh * e.y_row_stride + ow * e.y_pixel_stride + c] =
              reference(oh, ow, at);
        }
      }
    }
  }
  for (const std::size_t threads : {1u, 2u, 3u}) {
    Context context(threads, isa);
    GuardedArray<T> y(std::vector<T>(size, T{7}), 1);
    run(context, y.data());
    expect_same_bits(expected.data(), y.data(), size);
    y.expect_canaries();
    if (testing::Test::HasFailure()) return;
  }
}

template <class T>
void check_nearest(Isa isa, const ResizeExtents& e, const std::vector<std::int32_t>& rows,
                   const std::vector<std::int32_t>& columns) {
  std::vector<T> x(e.batch * e.in_h * e.in_w * e.x_pixel_stride);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<T>(i * 2654435761u);
  check<T>(
      isa, e, rows.size(), columns.size(),
      [&](std::size_t oh, std::size_t ow, const auto& at) {
        return x[at(static_cast<std::size_t>(rows[oh]), static_cast<std::size_t>(columns[ow]))];
      },
      [&](Context& context, T* y) { resize_nearest(context, sizeof(T), e, rows, columns, x.data(), y); });
}

TEST_P(ResizeNearest, EqualsTheReference) {
  for (const std::size_t channels : {1u, 2u, 3u, 4u, 8u, 24u, 96u}) {
    for (const std::size_t gap : {0u, 3u}) {
      for (const auto& sizes :
           {std::vector<std::size_t>{7, 5, 14, 10}, {7, 5, 4, 11}, {40, 40, 80, 80}, {1, 1, 3, 2}}) {
        const std::vector<std::int32_t> rows =
            nearest_table(sizes[0], sizes[2], static_cast<float>(sizes[2]) / static_cast<float>(sizes[0]),
                          Coordinates::kAsymmetric, Rounding::kFloor);
        const std::vector<std::int32_t> columns =
            nearest_table(sizes[1], sizes[3], static_cast<float>(sizes[3]) / static_cast<float>(sizes[1]),
                          Coordinates::kHalfPixel, Rounding::kPreferFloor);
        const ResizeExtents e = make(2, channels, sizes[0], sizes[1], sizes[2], sizes[3], gap);
        check_nearest<std::uint8_t>(isa(), e, rows, columns);
        check_nearest<std::uint32_t>(isa(), e, rows, columns);
        if (HasFailure()) return;
      }
    }
  }
}

TEST_P(ResizeBilinear, EqualsTheReference) {
  for (const std::size_t channels : {1u, 3u, 8u, 21u, 64u}) {
    for (const std::size_t gap : {0u, 3u}) {
      for (const auto& sizes :
           {std::vector<std::size_t>{7, 5, 14, 10}, {7, 5, 4, 11}, {30, 30, 60, 60}, {1, 1, 3, 2}}) {
        const std::vector<LinearTap> rows =
            linear_table(sizes[0], sizes[2], static_cast<float>(sizes[2]) / static_cast<float>(sizes[0]),
                         Coordinates::kHalfPixel);
        const std::vector<LinearTap> columns =
            linear_table(sizes[1], sizes[3], static_cast<float>(sizes[3]) / static_cast<float>(sizes[1]),
                         Coordinates::kAlignCorners);
        const ResizeExtents e = make(2, channels, sizes[0], sizes[1], sizes[2], sizes[3], gap);
        const std::vector<float> x =
            test::ugly_floats(e.batch * e.in_h * e.in_w * e.x_pixel_stride, 5, 0.1f, false);
        check<float>(
            isa(), e, rows.size(), columns.size(),
            [&](std::size_t oh, std::size_t ow, const auto& at) {
              const LinearTap &r = rows[oh], &c = columns[ow];
              const auto pixel = [&](std::int32_t ih, std::int32_t iw) {
                return x[at(static_cast<std::size_t>(ih), static_cast<std::size_t>(iw))];
              };
              const float top = pixel(r.first, c.first) * c.w_first + pixel(r.first, c.second) * c.w_second;
              const float bottom =
                  pixel(r.second, c.first) * c.w_first + pixel(r.second, c.second) * c.w_second;
              return top * r.w_first + bottom * r.w_second;
            },
            [&](Context& context, float* y) { resize_bilinear(context, e, rows, columns, x.data(), y); });
        if (HasFailure()) return;
      }
    }
  }
}

// By hand from the formulas of ONNX Resize.
TEST(ResizeTables, AgreeWithTheFormulasOfOnnx) {
  using Indices = std::vector<std::int32_t>;
  EXPECT_EQ(nearest_table(2, 4, 2, Coordinates::kAsymmetric, Rounding::kFloor), (Indices{0, 0, 1, 1}));
  EXPECT_EQ(nearest_table(2, 4, 2, Coordinates::kAsymmetric, Rounding::kCeil), (Indices{0, 1, 1, 1}));
  EXPECT_EQ(nearest_table(2, 4, 2, Coordinates::kHalfPixel, Rounding::kPreferFloor), (Indices{0, 0, 1, 1}));
  EXPECT_EQ(nearest_table(4, 2, 0.5f, Coordinates::kHalfPixel, Rounding::kPreferFloor), (Indices{0, 2}));
  EXPECT_EQ(nearest_table(4, 2, 0.5f, Coordinates::kHalfPixel, Rounding::kPreferCeil), (Indices{1, 3}));
  EXPECT_EQ(nearest_table(3, 5, 5.0f / 3, Coordinates::kAlignCorners, Rounding::kPreferFloor),
            (Indices{0, 0, 1, 1, 2}));
  const std::vector<LinearTap> taps = linear_table(2, 4, 2, Coordinates::kHalfPixel);
  const float second[] = {0, 0.25f, 0.75f, 0};
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(taps[i].w_second, second[i]);
    EXPECT_EQ(taps[i].w_first, 1 - second[i]);
  }
  EXPECT_EQ(linear_table(5, 1, 0.2f, Coordinates::kPytorchHalfPixel)[0].first, 0);
  EXPECT_THROW(nearest_table(0, 1, 1, Coordinates::kAsymmetric, Rounding::kFloor), InvalidArgument);
}

}  // namespace
}  // namespace qslim
