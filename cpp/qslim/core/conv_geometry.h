// SPDX-License-Identifier: Apache-2.0
//
// ConvGeometry: the parameters of a convolution, known when its weights are packed. ConvExtents: the sizes
// that it runs on, known when shapes are. Activations are in NHWC order. Strides count elements.
//
//   y[n, oh, ow, oc] = sum over kh, kw, ic of
//     x[n, oh * stride_h + kh * dilation_h - pad_top, ow * stride_w + kw * dilation_w - pad_left, ic] *
//     w[oc, ic, kh, kw]                                     within the group of oc; x is zero outside.
//
// A matrix product x[M, K] * w[K, N] is the 1x1 case: input_channels K, output_channels N, out_w M.
#pragma once

#include <cstddef>

namespace qslim {

struct ConvGeometry {
  std::size_t input_channels = 0;
  std::size_t output_channels = 0;
  std::size_t groups = 1;
  std::size_t kernel_h = 1, kernel_w = 1;
  std::size_t stride_h = 1, stride_w = 1;
  std::size_t dilation_h = 1, dilation_w = 1;
};

struct ConvExtents {
  std::size_t batch = 1;
  std::size_t in_h = 1, in_w = 1;
  std::size_t out_h = 1, out_w = 1;
  std::ptrdiff_t pad_top = 0, pad_left = 0;  // negative ones crop
  // From one pixel to the next: at least the channels, more where x is a slice of a wider tensor. Rows and
  // images of x follow each other without gaps: in_w * x_pixel_stride and in_h rows of that.
  std::size_t x_pixel_stride = 0;
  // y may be a strided part of a larger image (a concatenation, a phase of a transposed convolution).
  std::size_t y_pixel_stride = 0, y_row_stride = 0, y_image_stride = 0;
};

}  // namespace qslim
