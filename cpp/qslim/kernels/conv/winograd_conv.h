// SPDX-License-Identifier: Apache-2.0
//
// WinogradConv: int8 convolution of 3x3 with stride 1 on tiles of 2x2 outputs
// (kernels/winograd_u8s8/kernels.h).
//
// run() cuts the tiles into blocks. A worker transforms the inputs of some tiles in its scratch, multiplies
// them with the weights transformed once, panel by panel, and transforms the sums back while they are in the
// cache.
#pragma once

#include <cstddef>
#include <cstdint>

#include "qslim/core/aligned_buffer.h"
#include "qslim/core/conv_geometry.h"
#include "qslim/core/span.h"
#include "qslim/core/thread_pool.h"
#include "qslim/kernels/conv/column_panels.h"
#include "qslim/kernels/conv/kernel_run.h"
#include "qslim/kernels/winograd_u8s8/kernels.h"

namespace qslim {

using WinogradRun = KernelRun<WinogradBlock>;

class WinogradConv {
 public:
  // Return true if the products saved pay for the transforms. largest_sum: of |acc|.
  static bool suits(const ConvGeometry& geometry, std::int64_t largest_sum) noexcept;

  // weights [OC, IC, 3, 3]; multiplier [OC]; bias [OC] or empty for zeros.
  WinogradConv(const ConvGeometry& geometry, const GemmLayout& layout, WinogradTransformFn transform,
               Span<const std::int8_t> weights, std::uint8_t x_zero_point, Span<const float> multiplier,
               Span<const float> bias);

  std::size_t scratch_bytes(const ConvExtents& extents, std::size_t num_threads) const noexcept;
  void run(ThreadPool& pool, const ConvExtents& extents, const WinogradRun& run, std::byte* scratch) const;

  std::size_t packed_bytes() const noexcept { return u_.size() + 4 * (multiplier_.size() + bias_.size()); }

 private:
  struct Plan {
    std::size_t tiles_h, tiles_w, tiles;  // tiles of the whole batch
    std::size_t most_tiles;               // transformed at once
    std::size_t blocks, splits;
    std::size_t row_stride, v_bytes, sums_bytes, outside_bytes, absent_bytes, worker_bytes;
  };
  Plan plan(const ConvExtents& extents, std::size_t num_threads, bool to_sink) const noexcept;
  void run_block(const Plan& plan, const ConvExtents& extents, const WinogradRun& run, std::size_t block,
                 std::size_t split, std::byte* scratch) const;

  ConvGeometry geometry_;
  int x_zero_point_;
  WinogradTransformFn transform_;
  ColumnPanels panels_;
  std::size_t steps_;
  AlignedBuffer<std::byte> u_;
  AlignedBuffer<float> multiplier_, bias_;
};

}  // namespace qslim
