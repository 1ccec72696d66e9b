// SPDX-License-Identifier: Apache-2.0
//
// GemmBlock: a few rows of A times consecutive panels of B, the work of one call of a matrix kernel of either
// element type.
//
//   acc[m, n] = start[n] + sum over k of a[m, k] * b[k, n]
//   r[m, n]   = float(acc[m, n]) * multiplier[n] + bias[n]          of int32: two roundings
//   r[m, n]   = acc[m, n] + bias[n]                                 of float, where start is +0
//
// A     [rows, steps] groups of 4 bytes: 4 uint8, 2 int16 or 1 float, after which the layouts are named.
// B     panels of up to max_vectors * lanes columns: [step][column] groups of 4 bytes that match A's. The
//       columns of a panel lie in the order of column_at(), those past the last one hold zeros. What A holds
//       past K therefore changes nothing; a float A has nothing past K.
// start, multiplier, bias   one per column of the panels, in the order of B.
// Included by per-ISA files: plain declarations only.
#pragma once

#include <cstddef>
#include <cstdint>

#include "qslim/formulas/inline.h"

namespace qslim {

// Where results go: the same distance apart, row by row. residual: null, or uint8 values that are added, in
// the same places.
struct OutputRows {
  unsigned char* first = nullptr;
  std::size_t stride = 0;  // bytes
  const unsigned char* residual = nullptr;

  QSLIM_INLINE unsigned char* operator[](std::size_t row) const { return first + row * stride; }
  QSLIM_INLINE unsigned char* operator[](int row) const { return (*this)[static_cast<std::size_t>(row)]; }
  QSLIM_INLINE OutputRows from(std::size_t row, std::size_t offset) const {
    const std::size_t distance = row * stride + offset;
    return {first + distance, stride, residual == nullptr ? nullptr : residual + distance};
  }
};

struct GemmBlock {
  std::size_t rows = 0, steps = 0;
  std::size_t columns = 0;  // real ones; the panels start at a multiple of the widest panel
  const void* a = nullptr;
  std::size_t a_stride = 0;  // bytes from row to row
  const void* b = nullptr;
  const std::int32_t* start = nullptr;  // null for float
  const float* multiplier = nullptr;    // null for float
  const float* bias = nullptr;
  OutputRows y;  // where the first column goes
};

// Image patches to the rows of A: a row is one output's taps (kh, kw) of `channels` consecutive elements.
struct PatchBlock {
  std::size_t channels = 0;
  std::size_t kernel_h = 1, kernel_w = 1, stride_h = 1, stride_w = 1, dilation_h = 1, dilation_w = 1;
  std::ptrdiff_t pad_top = 0, pad_left = 0;
  std::size_t in_h = 1, in_w = 1, out_h = 1, out_w = 1;
  std::size_t pixel_stride = 0;             // elements
  int zero_point = 0;                       // what pixels outside hold
  const void* x = nullptr;                  // of image 0: the first of the channels
  std::size_t first_pixel = 0, pixels = 0;  // counted as (n, oh, ow)
  // Written up to 64 bytes past the last row; rows are written in order.
  void* a = nullptr;
  std::size_t a_stride = 0;

  // For gathering by columns, of pixels of one row of outputs and up to kMostColumnRows rows and
  // kMostColumnChannels channels: A begins with the first column of the first patch, each column as (kh,
  // channel), and a_stride is stride_w columns. column_bytes [kernel_h][64]: the byte of 16 of image row kh
  // that byte i of the next column_pixels() columns comes from, or 0x80, where pixels follow each other
  // without a gap.
  static constexpr std::size_t kMostColumnRows = 7, kMostColumnChannels = 4;
  const unsigned char* column_bytes = nullptr;
};

// Return the number of image columns that 64 bytes of A and 16 bytes of each image row hold.
static constexpr std::size_t column_pixels(std::size_t kernel_h, std::size_t channels) {
  const std::size_t of_a = 64 / (kernel_h * channels), of_row = 16 / channels;
  return of_a < of_row ? of_a : of_row;
}

static constexpr bool is_pointwise(const PatchBlock& p) {
  return p.kernel_h == 1 && p.kernel_w == 1 && p.stride_h == 1 && p.stride_w == 1 && p.pad_top == 0 &&
         p.pad_left == 0 && p.in_h == p.out_h && p.in_w == p.out_w;
}

// clamp(round(r * inverse_scale) + zero_point, lo, hi), where |r * inverse_scale| < kLargestStep, so that it
// fits int32.
struct Requantization {
  float inverse_scale;
  std::int32_t zero_point, lo, hi;
  // Of residual values, (q - residual_zero_point) * residual_scale.
  float residual_scale = 0;
  std::int32_t residual_zero_point = 0;
};

static constexpr double kLargestStep = 1 << 30;

struct Clamp {
  float lo, hi;
};

// Return the number of vectors of the panel that starts where `columns` remain.
static constexpr std::size_t panel_vectors(std::size_t columns, std::size_t lanes, std::size_t max_vectors) {
  return columns >= lanes * max_vectors ? max_vectors : (columns + lanes - 1) / lanes;
}

// Return the panel's column that vector j has in lane e. In the packed order, packing vectors j and j + 1 to
// half their width and the results once more (which the instructions do within 128 bits) restores the
// columns' order; it needs an even number of vectors.
static constexpr std::size_t column_at(std::size_t j, std::size_t e, std::size_t lanes, std::size_t vectors,
                                       bool packed_order) {
  return packed_order && vectors % 2 == 0 ? 4 * vectors * (e / 4) + 4 * j + e % 4 : lanes * j + e;
}

}  // namespace qslim
