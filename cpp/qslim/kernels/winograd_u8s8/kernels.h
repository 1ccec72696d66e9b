// SPDX-License-Identifier: Apache-2.0
//
// Int8 convolution of 3x3 with stride 1 by Winograd's F(2x2, 3x3) (Lavin and Gray 2016, arXiv:1509.09308):
// tiles of 2x2 outputs from 4x4 inputs take 16 products where 36 were, in whole numbers:
//
//   v = B^T (x - x_zero_point) B        4x4 int16, of magnitude 4 * 255 at most
//   u = (2 G) w (2 G)^T                 4x4 int16, of magnitude 9 * 128 at most
//   s = sum over input channels of v * u, element by element
//   4 * acc = A^T s A                   2x2
//
//         [1  0 -1  0]         [2  0  0]
//   B^T = [0  1  1  0]   2 G = [1  1  1]   A^T = [1 1  1  0]
//         [0 -1  1  0]         [1 -1  1]         [0 1 -1 -1]
//         [0  1  0 -1]         [0  0  2]
//
// Sums wrap modulo 2^32, so only 4 * acc has to fit, and the result is the integer that gemm_u8s8 computes.
// Elements (row, column) of a 4x4 tile are numbered 4 * row + column. Included by per-ISA files: plain
// declarations only.
#pragma once

#include "qslim/kernels/conv_blocks/gemm_block.h"

namespace qslim {

static constexpr std::size_t kWinogradElements = 16;

// x of some tiles to v.
struct WinogradPatches {
  std::size_t tiles = 0, channels = 0;
  int zero_point = 0;
  // [tiles, 16]: where the channels of a pixel start; may be read up to 16 bytes past them.
  const std::uint8_t* const* pixels = nullptr;
  // [16, tiles, channels] int16, strides in bytes; written in sixteens of channels.
  void* v = nullptr;
  std::size_t row_stride = 0, element_stride = 0;
};

// v times consecutive panels of u, and back to outputs.
struct WinogradBlock {
  std::size_t tiles = 0, steps = 0;  // steps of 2 channels
  std::size_t columns = 0;           // real ones
  const void* v = nullptr;
  std::size_t row_stride = 0, element_stride = 0;
  const void* u = nullptr;  // [panel, 16], each as in a panel of gemm's B
  const float* multiplier = nullptr;
  const float* bias = nullptr;
  unsigned char* const* y = nullptr;  // [tiles, 4]: where an output's first column goes
  std::int32_t* sums = nullptr;       // scratch of [tiles, 16, lanes * max_vectors], aligned to 64
};

using WinogradTransformFn = void (*)(const WinogradPatches& patches) noexcept;
using WinogradRequantizeFn = void (*)(const WinogradBlock& block, const Requantization& p) noexcept;
using WinogradRealFn = void (*)(const WinogradBlock& block) noexcept;

#define QSLIM_WINOGRAD_U8S8_KERNELS(isa, suffix, lanes, max_vectors, packed_order)                      \
  void winograd_u8s8_transform_##suffix(const WinogradPatches& patches) noexcept;                       \
  void winograd_u8s8_requantize_##suffix(const WinogradBlock& block, const Requantization& p) noexcept; \
  void winograd_u8s8_real_##suffix(const WinogradBlock& block) noexcept;
#include "qslim/kernels/winograd_u8s8/kernels.inc"
#undef QSLIM_WINOGRAD_U8S8_KERNELS

}  // namespace qslim
