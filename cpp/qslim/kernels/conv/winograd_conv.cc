// SPDX-License-Identifier: Apache-2.0
//
// Packing, planning and running of WinogradConv.
#include "qslim/kernels/conv/winograd_conv.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "qslim/kernels/conv/blocks.h"

namespace qslim {
namespace {

// The transformed inputs of a block, a panel of weights and its sums stay in the second-level cache.
constexpr std::size_t kBlockBytes = 256 * 1024;
// A multiple of the height of every kernel's tile of products.
constexpr std::size_t kMostTiles = 48, kFewestTiles = 12;
constexpr std::size_t kFewestChannels = 32;

// (2 G) w (2 G)^T, number `element` of its 16.
std::int16_t transformed(const std::int8_t* w, std::size_t element) {
  static constexpr int kG[4][3] = {{2, 0, 0}, {1, 1, 1}, {1, -1, 1}, {0, 0, 2}};
  const auto &column = kG[element / 4], &row = kG[element % 4];
  int sum = 0;
  for (int r = 0; r < 3; ++r) {
    for (int c = 0; c < 3; ++c) sum += column[r] * row[c] * w[3 * r + c];
  }
  return static_cast<std::int16_t>(sum);
}

}  // namespace

bool WinogradConv::suits(const ConvGeometry& g, std::int64_t largest_sum) noexcept {
  return g.kernel_h == 3 && g.kernel_w == 3 && g.stride_h == 1 && g.stride_w == 1 && g.dilation_h == 1 &&
         g.dilation_w == 1 && g.groups == 1 && g.input_channels >= kFewestChannels &&
         g.output_channels >= kFewestChannels && 4 * largest_sum <= std::numeric_limits<std::int32_t>::max();
}

WinogradConv::WinogradConv(const ConvGeometry& geometry, const GemmLayout& layout,
                           WinogradTransformFn transform, Span<const std::int8_t> weights,
                           std::uint8_t x_zero_point, Span<const float> multiplier, Span<const float> bias)
    : geometry_(geometry),
      x_zero_point_(x_zero_point),
      transform_(transform),
      panels_(layout, 1, geometry.output_channels),
      steps_(divide_up(geometry.input_channels, layout.depth)),
      multiplier_(panels_.in_columns(multiplier)),
      bias_(panels_.in_columns(bias)) {
  const std::size_t channels = geometry.input_channels;
  const auto fill_columns = [&](std::size_t element, std::size_t oc, std::int16_t* u) {
    for (std::size_t ic = 0; ic < channels; ++ic) {
      u[ic] = transformed(weights.data() + 9 * (oc * channels + ic), element);
    }
  };
  u_ = panels_.pack<std::int16_t>(kWinogradElements, steps_, fill_columns);
}

WinogradConv::Plan WinogradConv::plan(const ConvExtents& e, std::size_t num_threads,
                                      bool to_sink) const noexcept {
  Plan plan;
  plan.tiles_h = divide_up(e.out_h, 2), plan.tiles_w = divide_up(e.out_w, 2);
  plan.tiles = e.batch * plan.tiles_h * plan.tiles_w;
  // An odd number of cache lines: see GemmConv::plan.
  plan.row_stride = (divide_up(2 * geometry_.input_channels, kCacheLine) | 1) * kCacheLine;
  plan.most_tiles = kMostTiles;
  while (plan.most_tiles > kFewestTiles &&
         kWinogradElements * plan.most_tiles * plan.row_stride > kBlockBytes) {
    plan.most_tiles /= 2;
  }
  plan.splits = 1;
  if (to_sink) {
    // A sink takes consecutive pixels with all their channels: a row of tiles has them.
    plan.blocks = e.out_w == 0 ? 0 : e.batch * plan.tiles_h;
  } else {
    plan.blocks = divide_up(plan.tiles, plan.most_tiles);
    const std::size_t tasks = tasks_for(num_threads);
    if (plan.blocks != 0 && plan.blocks < tasks) {
      plan.splits = std::min(panels_.panels(), divide_up(tasks, plan.blocks));
    }
  }
  const std::size_t channels = geometry_.output_channels;
  plan.v_bytes = kWinogradElements * plan.most_tiles * plan.row_stride;
  plan.sums_bytes = kWinogradElements * plan.most_tiles * panels_.layout().widest_panel() * 4;
  plan.outside_bytes = round_up(geometry_.input_channels + 16, kCacheLine);
  plan.absent_bytes = round_up(channels * 4, kCacheLine);
  plan.worker_bytes = plan.v_bytes + plan.sums_bytes + plan.outside_bytes + plan.absent_bytes;
  if (to_sink) plan.worker_bytes += round_up(2 * e.out_w * channels * 4, kCacheLine);
  return plan;
}

std::size_t WinogradConv::scratch_bytes(const ConvExtents& extents, std::size_t num_threads) const noexcept {
  return num_threads * plan(extents, num_threads, true).worker_bytes;
}

void WinogradConv::run(ThreadPool& pool, const ConvExtents& extents, const WinogradRun& run,
                       std::byte* scratch) const {
  const Plan plan = this->plan(extents, pool.num_threads(), run.sink.take != nullptr);
  pool.run(plan.blocks * plan.splits, [&](std::size_t task, std::size_t worker) {
    run_block(plan, extents, run, task / plan.splits, task % plan.splits,
              scratch + worker * plan.worker_bytes);
  });
}

void WinogradConv::run_block(const Plan& plan, const ConvExtents& e, const WinogradRun& run,
                             std::size_t block, std::size_t split, std::byte* scratch) const {
  std::byte* const v = scratch;
  auto* const sums = reinterpret_cast<std::int32_t*>(v + plan.v_bytes);
  auto* const outside = reinterpret_cast<std::uint8_t*>(v + plan.v_bytes + plan.sums_bytes);
  auto* const absent = reinterpret_cast<unsigned char*>(outside + plan.outside_bytes);
  auto* const sink_rows = absent + plan.absent_bytes;
  std::memset(outside, x_zero_point_, plan.outside_bytes);

  const bool to_sink = run.sink.take != nullptr;
  const auto* x = static_cast<const std::uint8_t*>(run.x);
  const auto in_h = static_cast<std::ptrdiff_t>(e.in_h), in_w = static_cast<std::ptrdiff_t>(e.in_w);
  const std::size_t widest_panel = panels_.layout().widest_panel();
  const std::size_t column = panels_.panels() * split / plan.splits * widest_panel;
  const std::size_t end_column =
      std::min(panels_.columns(), panels_.panels() * (split + 1) / plan.splits * widest_panel);

  const std::size_t last = plan.tiles * (block + 1) / plan.blocks;
  for (std::size_t first = plan.tiles * block / plan.blocks; first < last; first += plan.most_tiles) {
    const std::size_t tiles = std::min(plan.most_tiles, last - first);
    const std::uint8_t* pixels[kMostTiles][kWinogradElements];
    unsigned char* y[kMostTiles][4];
    for (std::size_t t = 0; t < tiles; ++t) {
      const std::size_t tile = first + t, n = tile / plan.tiles_w / plan.tiles_h;
      const std::size_t oh = tile / plan.tiles_w % plan.tiles_h * 2, ow = tile % plan.tiles_w * 2;
      const std::uint8_t* image = x + n * e.in_h * e.in_w * e.x_pixel_stride;
      for (std::size_t i = 0; i < kWinogradElements; ++i) {
        const std::ptrdiff_t ih = static_cast<std::ptrdiff_t>(oh + i / 4) - e.pad_top;
        const std::ptrdiff_t iw = static_cast<std::ptrdiff_t>(ow + i % 4) - e.pad_left;
        const bool exists = ih >= 0 && ih < in_h && iw >= 0 && iw < in_w;
        pixels[t][i] = exists ? image + static_cast<std::size_t>(ih * in_w + iw) * e.x_pixel_stride : outside;
      }
      for (std::size_t i = 0; i < 4; ++i) {
        const std::size_t h = oh + i / 2, w = ow + i % 2;
        if (h >= e.out_h || w >= e.out_w) {
          y[t][i] = absent;
        } else if (to_sink) {
          y[t][i] = sink_rows + ((i / 2) * e.out_w + w) * panels_.columns() * 4;
        } else {
          y[t][i] = run.y + (n * e.y_image_stride + h * e.y_row_stride + w * e.y_pixel_stride + column) *
                                run.y_element_bytes;
        }
      }
    }
    WinogradPatches patches;
    patches.tiles = tiles, patches.channels = geometry_.input_channels, patches.zero_point = x_zero_point_;
    patches.pixels = pixels[0], patches.v = v;
    patches.row_stride = plan.row_stride, patches.element_stride = plan.most_tiles * plan.row_stride;
    transform_(patches);
    WinogradBlock product;
    product.tiles = tiles, product.steps = steps_, product.columns = end_column - column;
    product.v = v, product.row_stride = patches.row_stride, product.element_stride = patches.element_stride;
    product.u = u_.data() + column * kWinogradElements * steps_ * 4;
    product.multiplier = multiplier_.data() + column, product.bias = bias_.data() + column;
    product.y = y[0], product.sums = sums;
    run.multiply(run.self, product);
  }
  if (to_sink) {
    const std::size_t oh = block % plan.tiles_h * 2, rows = std::min<std::size_t>(2, e.out_h - oh);
    const std::size_t pixel = (block / plan.tiles_h * e.out_h + oh) * e.out_w;
    run.sink.take(run.sink.self, pixel, rows * e.out_w, reinterpret_cast<const float*>(sink_rows));
  }
}

}  // namespace qslim
