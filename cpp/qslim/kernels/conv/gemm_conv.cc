// SPDX-License-Identifier: Apache-2.0
//
// Planning and running of GemmConv.
#include "qslim/kernels/conv/gemm_conv.h"

#include <algorithm>

#include "qslim/kernels/conv/blocks.h"

namespace qslim {
namespace {

// A block of A and a panel of B stay in the second-level cache, of 512 KB at least.
constexpr std::size_t kBlockBytes = 256 * 1024;
constexpr std::size_t kSinkBytes = 96 * 1024;
// A multiple of the height of every kernel's tile but those of 9 to 11 rows.
constexpr std::size_t kMostRows = 96, kFewestRows = 12;

// Patches that overlap take little room; their first and last columns are what blocks do not share.
constexpr std::size_t kMostPatches = 256;

// Bytes a gather may write behind a block.
constexpr std::size_t kSlack = kCacheLine;

// Return true if patches of neighbouring outputs share columns, and few channels make it worth using.
bool suits_columns(const ConvGeometry& g) {
  return g.groups == 1 && g.kernel_w > 1 && g.dilation_w == 1 && g.stride_w <= g.kernel_w &&
         g.input_channels <= PatchBlock::kMostColumnChannels && g.kernel_h <= PatchBlock::kMostColumnRows;
}

// Return PatchBlock::column_bytes.
std::vector<unsigned char> column_bytes(const ConvGeometry& g) {
  constexpr std::size_t kVector = 64;
  const std::size_t column = g.kernel_h * g.input_channels;
  const std::size_t bytes = column_pixels(g.kernel_h, g.input_channels) * column;
  std::vector<unsigned char> table(g.kernel_h * kVector, 0x80);
  for (std::size_t i = 0; i < bytes; ++i) {
    const std::size_t kh = i % column / g.input_channels;
    table[kh * kVector + i] =
        static_cast<unsigned char>(i / column * g.input_channels + i % g.input_channels);
  }
  return table;
}

}  // namespace

GemmConv::GemmConv(const ConvGeometry& geometry, const GemmLayout& layout, std::size_t x_element_bytes,
                   int x_zero_point, Gather gather, Gather gather_columns)
    : geometry_(geometry),
      x_element_bytes_(x_element_bytes),
      x_zero_point_(x_zero_point),
      gather_(gather),
      panels_(layout, geometry.groups, geometry.output_channels / geometry.groups),
      steps_(divide_up(geometry.kernel_h * geometry.kernel_w * (geometry.input_channels / geometry.groups),
                       layout.depth)) {
  if (gather_columns == nullptr || !suits_columns(geometry)) return;
  gather_ = gather_columns;
  column_bytes_ = column_bytes(geometry);
}

GemmConv::Plan GemmConv::plan(const ConvExtents& extents, std::size_t num_threads,
                              bool to_sink) const noexcept {
  const ConvGeometry& g = geometry_;
  Plan plan;
  plan.pixels = extents.batch * extents.out_h * extents.out_w;
  const bool a_is_x = 4 / panels_.layout().depth == x_element_bytes_;
  plan.in_place = a_is_x && g.kernel_h == 1 && g.kernel_w == 1 && g.stride_h == 1 && g.stride_w == 1 &&
                  extents.pad_top == 0 && extents.pad_left == 0 && extents.in_h == extents.out_h &&
                  extents.in_w == extents.out_w;
  // An odd number of cache lines: rows a power of two apart would share the few lines of one cache set.
  plan.a_stride = plan.in_place ? extents.x_pixel_stride * x_element_bytes_
                                : (divide_up(steps_ * 4, kCacheLine) | 1) * kCacheLine;
  if (by_columns()) plan.a_stride = g.stride_w * g.kernel_h * g.input_channels;
  std::size_t rows = by_columns() ? kMostPatches : kMostRows;
  while (rows > kFewestRows && rows * steps_ * 4 > kBlockBytes) rows /= 2;
  if (to_sink) {
    while (rows > kFewestRows && rows * g.output_channels * 4 > kSinkBytes) rows /= 2;
  }
  plan.blocks = divide_up(plan.pixels, rows);
  // Blocks that end with each row of outputs: run_block()'s division then finds its pixels in one of them.
  const std::size_t dense_row = extents.out_w * extents.y_pixel_stride;
  const bool has_gaps = (extents.out_h > 1 && extents.y_row_stride != dense_row) ||
                        (extents.batch > 1 && extents.y_image_stride != extents.out_h * dense_row);
  plan.ends_with_rows = by_columns() || (has_gaps && !to_sink);
  if (plan.ends_with_rows) plan.blocks = extents.batch * extents.out_h * divide_up(extents.out_w, rows);
  plan.splits = 1;
  const std::size_t tasks = tasks_for(num_threads);
  if (plan.blocks != 0 && plan.blocks < tasks) {
    // A sink takes all channels of a pixel at once.
    if (to_sink) {
      if (!plan.ends_with_rows) {
        plan.blocks = std::max(plan.blocks, std::min(tasks, divide_up(plan.pixels, kFewestRows)));
      }
    } else {
      plan.splits = std::min(g.groups * panels_.panels(), divide_up(tasks, plan.blocks));
    }
  }
  plan.block_rows = plan.blocks == 0 ? 0 : divide_up(plan.pixels, plan.blocks);
  plan.a_bytes = plan.in_place ? 0 : round_up(plan.block_rows * plan.a_stride + kSlack, kCacheLine);
  if (by_columns())
    plan.a_bytes += round_up(steps_ * 4, kCacheLine);  // the last patch is wider than its stride
  const std::size_t sink_bytes = to_sink ? plan.block_rows * g.output_channels * 4 : 0;
  plan.worker_bytes = plan.a_bytes + round_up(sink_bytes, kCacheLine);
  return plan;
}

std::size_t GemmConv::scratch_bytes(const ConvExtents& extents, std::size_t num_threads) const noexcept {
  const std::size_t worker =
      std::max(plan(extents, num_threads, false).worker_bytes, plan(extents, num_threads, true).worker_bytes);
  return num_threads * worker;
}

void GemmConv::run(ThreadPool& pool, const ConvExtents& extents, const GemmRun& run,
                   std::byte* scratch) const {
  const Plan plan = this->plan(extents, pool.num_threads(), run.sink.take != nullptr);
  pool.run(plan.blocks * plan.splits, [&](std::size_t task, std::size_t worker) {
    run_block(plan, extents, run, task / plan.splits, task % plan.splits,
              scratch + worker * plan.worker_bytes);
  });
}

PatchBlock GemmConv::patches_of(const ConvExtents& extents, const void* x) const noexcept {
  const ConvGeometry& g = geometry_;
  PatchBlock patches;
  patches.channels = g.input_channels / g.groups;
  patches.kernel_h = g.kernel_h, patches.kernel_w = g.kernel_w;
  patches.stride_h = g.stride_h, patches.stride_w = g.stride_w;
  patches.dilation_h = g.dilation_h, patches.dilation_w = g.dilation_w;
  patches.pad_top = extents.pad_top, patches.pad_left = extents.pad_left;
  patches.in_h = extents.in_h, patches.in_w = extents.in_w;
  patches.out_h = extents.out_h, patches.out_w = extents.out_w;
  patches.pixel_stride = extents.x_pixel_stride;
  patches.zero_point = x_zero_point_;
  patches.x = x;
  patches.column_bytes = column_bytes_.data();
  return patches;
}

void GemmConv::run_block(const Plan& plan, const ConvExtents& extents, const GemmRun& run, std::size_t block,
                         std::size_t split, std::byte* scratch) const {
  const ConvGeometry& g = geometry_;
  const std::size_t first = plan.pixels * block / plan.blocks;
  const std::size_t rows = plan.pixels * (block + 1) / plan.blocks - first;
  const bool to_sink = run.sink.take != nullptr;
  auto* const sink_rows = reinterpret_cast<float*>(scratch + plan.a_bytes);

  OutputRows y = {reinterpret_cast<unsigned char*>(sink_rows), g.output_channels * run.y_element_bytes};
  if (!to_sink) {
    const std::size_t row = first / extents.out_w, n = row / extents.out_h;
    const std::size_t offset = n * extents.y_image_stride + row % extents.out_h * extents.y_row_stride +
                               first % extents.out_w * extents.y_pixel_stride;
    y = {run.y + offset * run.y_element_bytes, extents.y_pixel_stride * run.y_element_bytes,
         run.residual == nullptr ? nullptr : run.residual + offset};
  }

  const std::size_t channels = g.input_channels / g.groups;
  const std::size_t in_group = panels_.panels(), panels = g.groups * in_group;
  const std::size_t columns = panels_.columns(), widest_panel = panels_.layout().widest_panel();
  std::size_t panel = panels * split / plan.splits;
  const std::size_t end = panels * (split + 1) / plan.splits;
  while (panel < end) {
    const std::size_t group = panel / in_group, column = panel % in_group * widest_panel;
    const std::size_t end_in_group = std::min(end - group * in_group, in_group);
    const auto* x = static_cast<const unsigned char*>(run.x) + group * channels * x_element_bytes_;
    GemmBlock gemm;
    gemm.rows = rows;
    gemm.steps = steps_;
    gemm.columns = std::min(columns, end_in_group * widest_panel) - column;
    gemm.a_stride = plan.a_stride;
    if (plan.in_place) {
      gemm.a = x + first * plan.a_stride;
    } else {
      PatchBlock patches = patches_of(extents, x);
      patches.first_pixel = first, patches.pixels = rows;
      patches.a = scratch, patches.a_stride = plan.a_stride;
      gather_(patches);
      gemm.a = scratch;
    }
    const std::size_t packed = group * panels_.padded_columns() + column;
    gemm.b = b_.data() + packed * steps_ * 4;
    if (multiplier_.size() != 0) {
      gemm.start = start_.data() + packed;
      gemm.multiplier = multiplier_.data() + packed;
    }
    gemm.bias = bias_.data() + packed;
    gemm.y = y.from(0, (group * columns + column) * run.y_element_bytes);
    run.multiply(run.self, gemm);
    panel = group * in_group + end_in_group;
  }
  if (to_sink) run.sink.take(run.sink.self, first, rows, sink_rows);
}

}  // namespace qslim
