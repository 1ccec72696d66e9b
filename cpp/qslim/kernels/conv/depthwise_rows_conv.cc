// SPDX-License-Identifier: Apache-2.0
//
// Packing, planning and running of DepthwiseRowsConv.
#include "qslim/kernels/conv/depthwise_rows_conv.h"

#include <algorithm>
#include <cstring>

#include "qslim/kernels/conv/blocks.h"

namespace qslim {
namespace {

constexpr std::size_t kSinkBytes = 64 * 1024;
// Vector loads may read so far past the last channel of a pixel.
constexpr std::size_t kSlack = kCacheLine;
constexpr std::size_t kLanes = 16, kVectors = 4;  // of a block

}  // namespace

bool DepthwiseRowsConv::suits(const ConvGeometry& g) noexcept {
  return g.kernel_h == g.kernel_w && (g.kernel_w == 3 || g.kernel_w == 5) && g.stride_h == g.stride_w &&
         g.stride_w <= 2 && g.dilation_h == 1 && g.dilation_w == 1;
}

DepthwiseRowsConv::DepthwiseRowsConv(const ConvGeometry& geometry, Span<const std::int8_t> weights,
                                     std::uint8_t x_zero_point, Span<const std::int32_t> start,
                                     Span<const float> multiplier, Span<const float> bias)
    : geometry_(geometry), x_zero_point_(x_zero_point) {
  constexpr std::size_t kBlock = DepthwiseRows::kBlock;
  const std::size_t side = geometry.kernel_w, steps = row_steps(side, geometry.stride_w);
  const std::size_t lanes = round_up(geometry.groups, kBlock);
  weights_ = AlignedBuffer<std::int8_t>(lanes * steps * 4);
  start_ = AlignedBuffer<std::int32_t>(lanes);
  multiplier_ = AlignedBuffer<float>(lanes);
  bias_ = AlignedBuffer<float>(lanes);
  for (std::size_t lane = 0; lane < lanes; ++lane) {
    const std::size_t first = lane / kBlock * kBlock, i = lane % kBlock, left = geometry.groups - first;
    const std::size_t column = column_at(i / kLanes, i % kLanes, kLanes, kVectors, true);
    const std::size_t c = first + column % (kBlock / row_parts(left));
    const bool exists = c < geometry.groups;
    start_[lane] = exists ? start[c] : 0;
    multiplier_[lane] = exists ? multiplier[c] : 0;
    bias_[lane] = exists && !bias.empty() ? bias[c] : 0;
    std::int8_t* w = weights_.data() + (first * steps + i) * 4;
    for (std::size_t step = 0; step < steps; ++step, w += kBlock * 4) {
      for (std::size_t byte = 0; byte < 4; ++byte) {
        const TapEntry tap = row_tap(side, geometry.stride_w, step, byte);
        w[byte] = exists && tap.counts ? weights[c * side * side + tap.tap] : std::int8_t{0};
      }
    }
  }
}

DepthwiseRowsConv::Plan DepthwiseRowsConv::plan(const ConvExtents& extents, std::size_t num_threads,
                                                bool to_sink) const noexcept {
  const std::size_t row_bytes = extents.out_w * geometry_.groups * sizeof(float);
  const std::size_t tasks = tasks_for(num_threads);
  Plan plan;
  plan.band = DepthwiseRows::kMostRows;
  // Bands of one row would leave half of the work of 3x3 with stride 1 unused.
  const auto is_too_large = [&] {
    return (to_sink && plan.band * row_bytes > kSinkBytes) ||
           extents.batch * divide_up(extents.out_h, plan.band) * (to_sink ? 1 : blocks()) < tasks;
  };
  while (plan.band > 2 && is_too_large()) plan.band /= 2;
  plan.bands = divide_up(extents.out_h, plan.band);
  const std::size_t all = extents.batch * plan.bands;
  plan.splits = to_sink || all == 0 || all >= tasks ? 1 : std::min(blocks(), divide_up(tasks, all));
  plan.outside_bytes = round_up(extents.in_w * extents.x_pixel_stride + kSlack, kCacheLine);
  plan.worker_bytes = to_sink ? round_up(plan.band * row_bytes, kCacheLine) : 0;
  return plan;
}

std::size_t DepthwiseRowsConv::scratch_bytes(const ConvExtents& extents,
                                             std::size_t num_threads) const noexcept {
  const Plan to_sink = plan(extents, num_threads, true);
  return to_sink.outside_bytes + num_threads * to_sink.worker_bytes;
}

void DepthwiseRowsConv::run(ThreadPool& pool, const ConvExtents& extents, const DepthwiseRowsRun& run,
                            std::byte* scratch) const {
  const Plan plan = this->plan(extents, pool.num_threads(), run.sink.take != nullptr);
  std::memset(scratch, x_zero_point_, plan.outside_bytes);
  pool.run(extents.batch * plan.bands * plan.splits, [&](std::size_t task, std::size_t worker) {
    std::byte* const memory = scratch + plan.outside_bytes + worker * plan.worker_bytes;
    run_band(plan, extents, run, task, scratch, reinterpret_cast<float*>(memory));
  });
}

void DepthwiseRowsConv::run_band(const Plan& plan, const ConvExtents& extents, const DepthwiseRowsRun& run,
                                 std::size_t task, const std::byte* outside, float* sink_rows) const {
  const ConvGeometry& g = geometry_;
  const bool to_sink = run.sink.take != nullptr;
  const std::size_t split = task % plan.splits, band = task / plan.splits % plan.bands;
  const std::size_t n = task / plan.splits / plan.bands, oh = band * plan.band;
  const std::size_t first = blocks() * split / plan.splits * DepthwiseRows::kBlock;
  const std::size_t end = std::min(blocks() * (split + 1) / plan.splits * DepthwiseRows::kBlock, g.groups);

  DepthwiseRows rows;
  rows.side = g.kernel_w, rows.stride = g.stride_w;
  rows.rows = std::min(plan.band, extents.out_h - oh);
  rows.pixels = extents.out_w, rows.channels = end - first;
  rows.columns = extents.in_w, rows.first_column = -extents.pad_left;
  rows.outside = x_zero_point_;
  rows.x_step = extents.x_pixel_stride;
  rows.weights = weights_.data() + first * row_steps(rows.side, rows.stride) * 4;
  rows.start = start_.data() + first;
  rows.multiplier = multiplier_.data() + first;
  rows.bias = bias_.data() + first;

  constexpr std::size_t kMostRowsOfX = (DepthwiseRows::kMostRows - 1) * 2 + 5;
  const unsigned char* x[kMostRowsOfX];
  const auto* image =
      static_cast<const unsigned char*>(run.x) + n * extents.in_h * extents.in_w * extents.x_pixel_stride;
  for (std::size_t i = 0; i < (rows.rows - 1) * rows.stride + rows.side; ++i) {
    const auto ih = static_cast<std::ptrdiff_t>(oh * g.stride_h + i) - extents.pad_top;
    const bool exists = ih >= 0 && ih < static_cast<std::ptrdiff_t>(extents.in_h);
    const auto* row = exists ? image + static_cast<std::size_t>(ih) * extents.in_w * extents.x_pixel_stride
                             : reinterpret_cast<const unsigned char*>(outside);
    x[i] = row + first;
  }
  rows.x = x;

  unsigned char* y[DepthwiseRows::kMostRows];
  for (std::size_t i = 0; i < rows.rows; ++i) {
    const std::size_t offset = n * extents.y_image_stride + (oh + i) * extents.y_row_stride + first;
    y[i] = to_sink ? reinterpret_cast<unsigned char*>(sink_rows + i * extents.out_w * g.groups)
                   : run.y + offset * run.y_element_bytes;
  }
  rows.y = y;
  rows.y_step = (to_sink ? g.groups : extents.y_pixel_stride) * run.y_element_bytes;
  run.multiply(run.self, rows);
  if (to_sink) {
    run.sink.take(run.sink.self, (n * extents.out_h + oh) * extents.out_w, rows.rows * extents.out_w,
                  sink_rows);
  }
}

}  // namespace qslim
