// SPDX-License-Identifier: Apache-2.0
//
// Sampling images [N, C, H, W] at the places of a grid [N, OH, OW, 2], as ONNX GridSample does:
//
//   y[n, c, i, j] = x[n, c] at row v, column u of (u, v) = place(grid[n, i, j])
//   place(g) = (g + 1) / 2 * (extent - 1) with aligned corners, ((g + 1) * extent - 1) / 2 without
//
// nearest takes the pixel at rint(place), bilinear weighs its four neighbours. Outside of the image is
// zero, its edge (border) or its mirror image (reflection). A NaN in the grid samples the corner (0, 0) where
// there is no zero around. Nothing is allocated.
#pragma once

#include <cstddef>
#include <cstdint>

#include "qslim/core/context.h"

namespace qslim {

enum class SamplePadding : std::uint8_t { kZeros, kBorder, kReflection };

struct GridSampleExtents {
  std::size_t batch = 1, channels = 1, in_h = 1, in_w = 1, out_h = 1, out_w = 1;
  SamplePadding padding = SamplePadding::kZeros;
  bool is_nearest = false, aligns_corners = false;
};

void grid_sample(Context& context, const GridSampleExtents& extents, const float* x, const float* grid,
                 float* y);

}  // namespace qslim
