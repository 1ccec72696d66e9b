// SPDX-License-Identifier: Apache-2.0
#include "qslim/kernels/grid_sample/grid_sample.h"

#include <algorithm>
#include <cmath>

namespace qslim {
namespace {

// `place` folded back from both ends of [low, low + span], as often as it takes.
float reflected(float place, float low, float span) {
  if (span <= 0) return 0;
  const float distance = std::fabs(place - low);
  const float turns = std::floor(distance / span), rest = distance - turns * span;
  return low + (std::fmod(turns, 2.0f) == 0 ? rest : span - rest);
}

// Return the place in pixels of a number of the grid: in [0, extent), or anywhere if the padding is zeros.
float place_of(float g, std::size_t extent, const GridSampleExtents& e) {
  const auto size = static_cast<float>(extent);
  float place = e.aligns_corners ? (g + 1) * 0.5f * (size - 1) : ((g + 1) * size - 1) * 0.5f;
  if (e.padding == SamplePadding::kReflection) {
    place = e.aligns_corners ? reflected(place, 0.0f, size - 1) : reflected(place, -0.5f, size);
  }
  if (e.padding == SamplePadding::kZeros) {
    // Two pixels outside are as good as infinitely many, and fit an integer.
    return place > -2 ? std::min(place, size + 1) : -2.0f;
  }
  return place > 0 ? std::min(place, size - 1) : 0.0f;
}

struct Neighbour {
  std::ptrdiff_t offset;  // of the pixel; 0 where the weight is 0
  float weight;
};

// The pixels that make one of the result, and their weights.
void find_neighbours(const GridSampleExtents& e, float u, float v, Neighbour (&result)[4]) {
  const auto h = static_cast<std::ptrdiff_t>(e.in_h), w = static_cast<std::ptrdiff_t>(e.in_w);
  const float left = e.is_nearest ? std::nearbyint(u) : std::floor(u);
  const float top = e.is_nearest ? std::nearbyint(v) : std::floor(v);
  const float right_part = e.is_nearest ? 0.0f : u - left, bottom_part = e.is_nearest ? 0.0f : v - top;
  for (int i = 0; i < 4; ++i) {
    const std::ptrdiff_t column = static_cast<std::ptrdiff_t>(left) + i % 2;
    const std::ptrdiff_t row = static_cast<std::ptrdiff_t>(top) + i / 2;
    const float weight =
        (i % 2 != 0 ? right_part : 1 - right_part) * (i / 2 != 0 ? bottom_part : 1 - bottom_part);
    const bool is_inside = column >= 0 && column < w && row >= 0 && row < h;
    result[i] = is_inside ? Neighbour{row * w + column, weight} : Neighbour{0, 0.0f};
  }
}

}  // namespace

void grid_sample(Context& context, const GridSampleExtents& e, const float* x, const float* grid, float* y) {
  const std::size_t in = e.in_h * e.in_w, out = e.out_h * e.out_w;
  context.pool().for_each_block(e.batch * e.out_h, 1, [&](Block block) {
    for (std::size_t row = block.begin; row < block.begin + block.size; ++row) {
      const std::size_t n = row / e.out_h;
      const float* const image = x + n * e.channels * in;
      float* const line = y + n * e.channels * out + row % e.out_h * e.out_w;
      for (std::size_t j = 0; j < e.out_w; ++j) {
        const float* const g = grid + (row * e.out_w + j) * 2;
        Neighbour neighbours[4];
        find_neighbours(e, place_of(g[0], e.in_w, e), place_of(g[1], e.in_h, e), neighbours);
        for (std::size_t c = 0; c < e.channels; ++c) {
          float sum = 0;
          for (const Neighbour& neighbour : neighbours) {
            if (neighbour.weight != 0)
              sum += image[static_cast<std::ptrdiff_t>(c * in) + neighbour.offset] * neighbour.weight;
          }
          line[c * out + j] = sum;
        }
      }
    }
  });
}

}  // namespace qslim
