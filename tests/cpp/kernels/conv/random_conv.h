// SPDX-License-Identifier: Apache-2.0
//
// Random convolutions, and what the tests of both element types do with them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <ostream>
#include <random>
#include <vector>

#include "qslim/core/aligned_buffer.h"
#include "qslim/core/conv_geometry.h"

namespace qslim::test {

struct ConvCase {
  ConvGeometry geometry;
  ConvExtents extents;

  std::size_t taps() const { return geometry.kernel_h * geometry.kernel_w; }
  std::size_t weights() const {
    return geometry.output_channels * (geometry.input_channels / geometry.groups) * taps();
  }
  std::size_t pixels() const { return extents.batch * extents.out_h * extents.out_w; }
  std::size_t macs() const { return pixels() * weights(); }
  // Up to the last channel of the last pixel and no further.
  std::size_t x_size() const {
    return (extents.batch * extents.in_h * extents.in_w - 1) * extents.x_pixel_stride +
           geometry.input_channels;
  }
  std::size_t y_size() const { return extents.batch * extents.y_image_stride + extents.y_pixel_stride; }
  std::size_t y_index(std::size_t pixel) const {
    const std::size_t ow = pixel % extents.out_w, oh = pixel / extents.out_w % extents.out_h;
    const std::size_t n = pixel / extents.out_w / extents.out_h;
    return n * extents.y_image_stride + oh * extents.y_row_stride + ow * extents.y_pixel_stride;
  }
};

inline std::ostream& operator<<(std::ostream& os, const ConvCase& c) {
  const ConvGeometry& g = c.geometry;
  const ConvExtents& e = c.extents;
  return os << "N" << e.batch << " " << e.in_h << "x" << e.in_w << "x" << g.input_channels << " -> "
            << e.out_h << "x" << e.out_w << "x" << g.output_channels << " groups " << g.groups << " kernel "
            << g.kernel_h << "x" << g.kernel_w << " stride " << g.stride_h << "," << g.stride_w
            << " dilation " << g.dilation_h << "," << g.dilation_w << " pad " << e.pad_top << ","
            << e.pad_left << " x_pixel_stride " << e.x_pixel_stride << " y strides " << e.y_pixel_stride
            << "," << e.y_row_stride << "," << e.y_image_stride;
}

// A matrix product: M rows, all strides as tight as they get.
inline ConvCase matrix_case(std::size_t m, std::size_t n, std::size_t k) {
  ConvCase c;
  c.geometry.input_channels = k, c.geometry.output_channels = n;
  c.extents.in_w = c.extents.out_w = m;
  c.extents.x_pixel_stride = k;
  c.extents.y_pixel_stride = n, c.extents.y_row_stride = c.extents.y_image_stride = m * n;
  return c;
}

inline std::size_t pick(std::mt19937& random, std::size_t lo, std::size_t hi) {
  return std::uniform_int_distribution<std::size_t>(lo, hi)(random);
}
inline bool one_in(std::mt19937& random, std::size_t n) { return pick(random, 1, n) == 1; }

// Images of up to `largest` pixels a side, padded and cropped; the output may be empty.
inline ConvCase random_extents(const ConvGeometry& g, std::size_t largest, std::mt19937& random) {
  ConvCase c;
  c.geometry = g;
  ConvExtents& e = c.extents;
  e.batch = pick(random, 1, 3);
  e.in_h = pick(random, 1, largest), e.in_w = pick(random, 1, largest);
  const auto extent = [&](std::size_t in, std::size_t kernel, std::size_t stride, std::size_t dilation,
                          std::ptrdiff_t& pad) -> std::size_t {
    const auto any = [&] {
      return static_cast<std::ptrdiff_t>(pick(random, 0, kernel * dilation)) - (one_in(random, 4) ? 3 : 0);
    };
    pad = one_in(random, 3) ? 0 : any();
    const std::ptrdiff_t pad_end = one_in(random, 2) ? pad : any();
    const std::ptrdiff_t room = static_cast<std::ptrdiff_t>(in) + pad + pad_end -
                                static_cast<std::ptrdiff_t>((kernel - 1) * dilation + 1);
    return room < 0 ? 0 : static_cast<std::size_t>(room) / stride + 1;
  };
  e.out_h = extent(e.in_h, g.kernel_h, g.stride_h, g.dilation_h, e.pad_top);
  e.out_w = extent(e.in_w, g.kernel_w, g.stride_w, g.dilation_w, e.pad_left);
  const auto gap = [&] { return one_in(random, 2) ? 0 : pick(random, 1, 9); };
  e.x_pixel_stride = g.input_channels + gap();
  e.y_pixel_stride = g.output_channels + gap();
  e.y_row_stride = e.out_w * e.y_pixel_stride + gap();
  e.y_image_stride = e.out_h * e.y_row_stride + gap();
  return c;
}

// Random extents, but an output that is not empty.
inline ConvCase random_output(const ConvGeometry& g, std::mt19937& random) {
  for (;;) {
    const ConvCase c = random_extents(g, 17, random);
    if (c.extents.out_h != 0 && c.extents.out_w != 0) return c;
  }
}

inline ConvGeometry depthwise_geometry(std::size_t kernel) {
  ConvGeometry g;
  g.groups = g.input_channels = g.output_channels = 75;
  g.kernel_h = g.kernel_w = kernel;
  return g;
}

inline ConvCase random_case(std::mt19937& random) {
  for (;;) {
    ConvGeometry g;
    const std::size_t kind = pick(random, 0, 7);
    const auto channels = [&] { return one_in(random, 3) ? pick(random, 1, 130) : pick(random, 1, 40); };
    if (kind <= 2) {
      g.input_channels = channels(), g.output_channels = channels();
    } else if (kind == 3) {  // groups
      const std::size_t groups[] = {2, 3, 4, 8};
      g.groups = groups[pick(random, 0, 3)];
      g.input_channels = g.groups * pick(random, 1, 9), g.output_channels = g.groups * pick(random, 1, 20);
    } else if (kind == 4) {  // depthwise, several outputs per channel
      g.groups = g.input_channels = pick(random, 1, 40);
      g.output_channels = g.groups * pick(random, 2, 3);
    } else {  // depthwise
      g.groups = g.input_channels = g.output_channels = channels();
    }
    const bool is_pointwise = one_in(random, 4);
    const auto kernel = [&] { return is_pointwise ? 1 : one_in(random, 2) ? 3 : pick(random, 1, 7); };
    const auto one_to_three = [&] { return one_in(random, 2) ? 1 : pick(random, 1, 3); };
    g.kernel_h = kernel(), g.kernel_w = kernel();
    g.stride_h = one_to_three(), g.stride_w = one_to_three();
    g.dilation_h = one_to_three(), g.dilation_w = one_to_three();
    const ConvCase c = random_extents(g, 17, random);
    if (c.extents.out_h != 0 && c.extents.out_w != 0 && c.macs() <= 1500000) return c;
  }
}

// Elements at the very end of an allocation but for the 64 bytes that kernels may read.
template <class T>
class TightArray {
 public:
  explicit TightArray(std::size_t n)
      : n_(n), memory_(new unsigned char[n * sizeof(T) + 64]), values_(reinterpret_cast<T*>(memory_.get())) {
    std::memset(memory_.get(), 0xff, n * sizeof(T) + 64);  // as floats: NaN
  }
  T* data() { return values_; }
  std::size_t size() const { return n_; }

 private:
  std::size_t n_;
  std::unique_ptr<unsigned char[]> memory_;
  T* values_;
};

}  // namespace qslim::test
