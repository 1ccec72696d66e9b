// SPDX-License-Identifier: Apache-2.0
//
// Planning and running of DepthwiseConv.
#include "qslim/kernels/conv/depthwise_conv.h"

#include <algorithm>

#include "qslim/kernels/conv/blocks.h"

namespace qslim {
namespace {

constexpr std::size_t kSinkBytes = 64 * 1024;
// Vector loads may read so far past the last channel of a pixel.
constexpr std::size_t kSlack = kCacheLine;

}  // namespace

DepthwiseConv::DepthwiseConv(const ConvGeometry& geometry, const DepthwiseLayout& layout,
                             std::size_t x_element_bytes)
    : geometry_(geometry),
      layout_(layout),
      x_element_bytes_(x_element_bytes),
      taps_(geometry.kernel_h * geometry.kernel_w) {
  for (std::size_t first = 0; first < geometry.groups; first += block()) {
    for (std::size_t j = 0; j < layout.vectors; ++j) {
      for (std::size_t e = 0; e < layout.lanes; ++e) {
        const std::size_t c = first + column_at(j, e, layout.lanes, layout.vectors, layout.packed_order);
        channel_.push_back(c < geometry.groups ? static_cast<std::uint32_t>(c) : kNoChannel);
      }
    }
  }
  for (std::size_t i = 0; i < steps() * layout.depth; ++i) {
    const std::size_t tap = entry(i).tap;
    offsets_.push_back(
        {tap / geometry.kernel_w * geometry.dilation_h, tap % geometry.kernel_w * geometry.dilation_w});
  }
}

DepthwiseConv::Plan DepthwiseConv::plan(const ConvExtents& extents, std::size_t num_threads,
                                        bool to_sink) const noexcept {
  const std::size_t channels = geometry_.groups;
  Plan plan;
  plan.pixels = extents.out_w;
  if (to_sink) {
    plan.pixels = std::min(plan.pixels, std::max<std::size_t>(1, kSinkBytes / (channels * sizeof(float))));
  }
  plan.chunks = plan.pixels == 0 ? 0 : divide_up(extents.out_w, plan.pixels);
  plan.splits = 1;
  const std::size_t rows = extents.batch * extents.out_h * plan.chunks, tasks = tasks_for(num_threads);
  if (!to_sink && rows != 0 && rows < tasks) {
    plan.splits = std::min(divide_up(channels, block()), divide_up(tasks, rows));
  }
  plan.outside_bytes =
      round_up(extents.in_w * extents.x_pixel_stride * x_element_bytes_ + kSlack, kCacheLine);
  plan.taps_bytes = round_up(steps() * layout_.depth * sizeof(void*), kCacheLine);
  plan.worker_bytes = plan.taps_bytes;
  if (to_sink) plan.worker_bytes += round_up(plan.pixels * channels * sizeof(float), kCacheLine);
  return plan;
}

std::size_t DepthwiseConv::scratch_bytes(const ConvExtents& extents, std::size_t num_threads) const noexcept {
  const Plan to_y = plan(extents, num_threads, false), to_sink = plan(extents, num_threads, true);
  return to_y.outside_bytes + num_threads * std::max(to_y.worker_bytes, to_sink.worker_bytes);
}

void DepthwiseConv::point_taps(const ConvExtents& extents, const DepthwiseRun& run, const std::byte* outside,
                               std::size_t row, std::size_t ow, std::size_t first,
                               const unsigned char** taps) const {
  const ConvGeometry& g = geometry_;
  const std::size_t n = row / extents.out_h, oh = row % extents.out_h;
  const std::size_t pixel_bytes = extents.x_pixel_stride * x_element_bytes_;
  const auto* x = static_cast<const unsigned char*>(run.x) + first * x_element_bytes_;
  const auto* nothing = reinterpret_cast<const unsigned char*>(outside) + first * x_element_bytes_;
  const auto first_ih = static_cast<std::ptrdiff_t>(oh * g.stride_h) - extents.pad_top;
  const auto first_iw = static_cast<std::ptrdiff_t>(ow * g.stride_w) - extents.pad_left;
  for (std::size_t i = 0; i < offsets_.size(); ++i) {
    const auto ih = first_ih + static_cast<std::ptrdiff_t>(offsets_[i].h);
    const auto iw = first_iw + static_cast<std::ptrdiff_t>(offsets_[i].w);
    if (iw < 0 || iw >= static_cast<std::ptrdiff_t>(extents.in_w)) {
      taps[i] = nothing;
      continue;
    }
    const bool row_exists = ih >= 0 && ih < static_cast<std::ptrdiff_t>(extents.in_h);
    const unsigned char* x_row =
        row_exists ? x + (n * extents.in_h + static_cast<std::size_t>(ih)) * extents.in_w * pixel_bytes
                   : nothing;
    taps[i] = x_row + static_cast<std::size_t>(iw) * pixel_bytes;
  }
}

void DepthwiseConv::run(ThreadPool& pool, const ConvExtents& extents, const DepthwiseRun& run,
                        std::byte* scratch) const {
  const ConvGeometry& g = geometry_;
  const bool to_sink = run.sink.take != nullptr;
  const Plan plan = this->plan(extents, pool.num_threads(), to_sink);
  std::byte* const outside = scratch;
  std::memset(outside, outside_, plan.outside_bytes);
  scratch += plan.outside_bytes;

  // Outputs [inner, inner_end) of a row have all their columns inside the image.
  const auto span_w = static_cast<std::ptrdiff_t>((g.kernel_w - 1) * g.dilation_w);
  const auto stride_w = static_cast<std::ptrdiff_t>(g.stride_w);
  const std::ptrdiff_t last = static_cast<std::ptrdiff_t>(extents.in_w) - 1 + extents.pad_left - span_w;
  const auto inner = static_cast<std::size_t>(
      extents.pad_left > 0 ? (extents.pad_left + stride_w - 1) / stride_w : std::ptrdiff_t{0});
  const std::size_t inner_end = last < 0 ? 0 : static_cast<std::size_t>(last / stride_w + 1);

  const bool is_square = g.kernel_h == g.kernel_w && (g.kernel_w == 3 || g.kernel_w == 5);
  const std::size_t blocks = (g.groups + block() - 1) / block();
  const std::size_t tasks = extents.batch * extents.out_h * plan.chunks * plan.splits;
  pool.run(tasks, [&](std::size_t task, std::size_t worker) {
    const std::size_t split = task % plan.splits, chunk = task / plan.splits % plan.chunks;
    const std::size_t row = task / plan.splits / plan.chunks;
    const std::size_t first = blocks * split / plan.splits * block();
    const std::size_t end = std::min(blocks * (split + 1) / plan.splits * block(), g.groups);
    const std::size_t begin_w = chunk * plan.pixels;
    const std::size_t end_w = std::min(begin_w + plan.pixels, extents.out_w);
    std::byte* memory = scratch + worker * plan.worker_bytes;
    auto* taps = reinterpret_cast<const unsigned char**>(memory);
    auto* sink_rows = reinterpret_cast<float*>(memory + plan.taps_bytes);

    DepthwiseSpan span;
    span.channels = end - first;
    span.taps = taps_, span.steps = steps();
    span.x = taps;
    span.x_step = g.stride_w * extents.x_pixel_stride * x_element_bytes_;
    span.column_step = g.dilation_w * extents.x_pixel_stride * x_element_bytes_;
    span.weights = weights_.data() + first * steps() * 4;
    if (multiplier_.size() != 0) {
      span.start = start_.data() + first;
      span.multiplier = multiplier_.data() + first;
    }
    span.bias = bias_.data() + first;
    span.y_step = (to_sink ? g.groups : extents.y_pixel_stride) * run.y_element_bytes;
    unsigned char* y = reinterpret_cast<unsigned char*>(sink_rows);
    if (!to_sink) {
      const std::size_t n = row / extents.out_h, oh = row % extents.out_h;
      const std::size_t offset =
          n * extents.y_image_stride + oh * extents.y_row_stride + begin_w * extents.y_pixel_stride + first;
      y = run.y + offset * run.y_element_bytes;
    }
    for (std::size_t ow = begin_w; ow < end_w; ow += span.pixels) {
      const bool is_inner = ow >= inner && ow < inner_end;
      span.inner_side = is_inner && is_square ? g.kernel_w : 0;
      span.pixels = is_inner ? std::min(end_w, inner_end) - ow : 1;
      point_taps(extents, run, outside, row, ow, first, taps);
      span.y = y + (ow - begin_w) * span.y_step;
      run.multiply(run.self, span);
    }
    if (to_sink) run.sink.take(run.sink.self, row * extents.out_w + begin_w, end_w - begin_w, sink_rows);
  });
}

}  // namespace qslim
