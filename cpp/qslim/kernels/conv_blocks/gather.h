// SPDX-License-Identifier: Apache-2.0
//
// gather_patches: PatchBlock to rows of A. Copy brings the instructions:
//   X, A                  element types before and after
//   copy(x, n, zero, a)   n elements, less `zero` where the types differ; may read and write 64 bytes more
//   fill(n, zero, a)      n elements of what `zero` becomes; may write 64 bytes more
// All names are internal to the including file, as each is compiled for another instruction set.
#pragma once

#include "qslim/kernels/conv_blocks/gemm_block.h"

namespace qslim {
namespace {

// One row of taps: kernel_w pixels of image row `x`, of which [0, in_w) exist.
template <class Copy>
typename Copy::A* gather_taps(const PatchBlock& p, const typename Copy::X* x, std::ptrdiff_t iw,
                              typename Copy::A* a) {
  const auto in_w = static_cast<std::ptrdiff_t>(p.in_w);
  const auto stride = static_cast<std::ptrdiff_t>(p.pixel_stride);
  for (std::size_t kw = 0; kw < p.kernel_w; ++kw, iw += static_cast<std::ptrdiff_t>(p.dilation_w)) {
    if (iw >= 0 && iw < in_w) {
      Copy::copy(x + iw * stride, p.channels, p.zero_point, a);
    } else {
      Copy::fill(p.channels, p.zero_point, a);
    }
    a += p.channels;
  }
  return a;
}

// A patch that touches no border: `x` is its first pixel. `run` consecutive elements make up a row of taps,
// or one tap.
template <class Copy>
void gather_inner(const PatchBlock& p, const typename Copy::X* x, std::size_t run, typename Copy::A* a) {
  const std::size_t row = p.dilation_h * p.in_w * p.pixel_stride, tap = p.dilation_w * p.pixel_stride;
  const std::size_t end = run == p.channels ? p.kernel_w * tap : 1;
  for (std::size_t kh = 0; kh < p.kernel_h; ++kh, x += row) {
    for (std::size_t kw = 0; kw < end; kw += tap, a += run) Copy::copy(x + kw, run, p.zero_point, a);
  }
}

// Each pixel by itself, one after the other: with few channels the general way takes longer than the product.
template <class Copy>
void gather_pixels(const PatchBlock& p) {
  const auto* x = static_cast<const typename Copy::X*>(p.x) + p.first_pixel * p.pixel_stride;
  auto* row = static_cast<unsigned char*>(p.a);
  for (std::size_t i = 0; i < p.pixels; ++i, x += p.pixel_stride, row += p.a_stride) {
    Copy::copy(x, p.channels, p.zero_point, reinterpret_cast<typename Copy::A*>(row));
  }
}

template <class Copy>
void gather_patches(const PatchBlock& p) {
  using X = typename Copy::X;
  using A = typename Copy::A;
  if (is_pointwise(p)) return gather_pixels<Copy>(p);
  const std::size_t image = p.out_h * p.out_w;
  std::size_t n = p.first_pixel / image;
  std::size_t oh = p.first_pixel % image / p.out_w, ow = p.first_pixel % p.out_w;
  const auto in_h = static_cast<std::ptrdiff_t>(p.in_h), in_w = static_cast<std::ptrdiff_t>(p.in_w);
  const auto height = static_cast<std::ptrdiff_t>((p.kernel_h - 1) * p.dilation_h + 1);
  const auto width = static_cast<std::ptrdiff_t>((p.kernel_w - 1) * p.dilation_w + 1);
  const bool is_dense = p.dilation_w == 1 && p.channels == p.pixel_stride;
  const std::size_t run = is_dense ? p.kernel_w * p.channels : p.channels;
  auto* row = static_cast<unsigned char*>(p.a);
  for (std::size_t i = 0; i < p.pixels; ++i, row += p.a_stride) {
    auto* a = reinterpret_cast<A*>(row);
    const X* x = static_cast<const X*>(p.x) + n * p.in_h * p.in_w * p.pixel_stride;
    auto ih = static_cast<std::ptrdiff_t>(oh * p.stride_h) - p.pad_top;
    const auto iw = static_cast<std::ptrdiff_t>(ow * p.stride_w) - p.pad_left;
    if (ih >= 0 && ih + height <= in_h && iw >= 0 && iw + width <= in_w) {
      gather_inner<Copy>(p, x + static_cast<std::size_t>(ih * in_w + iw) * p.pixel_stride, run, a);
    } else {
      for (std::size_t kh = 0; kh < p.kernel_h; ++kh, ih += static_cast<std::ptrdiff_t>(p.dilation_h)) {
        if (ih >= 0 && ih < in_h) {
          a = gather_taps<Copy>(p, x + static_cast<std::size_t>(ih * in_w) * p.pixel_stride, iw, a);
        } else {
          Copy::fill(p.kernel_w * p.channels, p.zero_point, a);
          a += p.kernel_w * p.channels;
        }
      }
    }
    if (++ow == p.out_w) {
      ow = 0;
      if (++oh == p.out_h) oh = 0, ++n;
    }
  }
}

}  // namespace
}  // namespace qslim
