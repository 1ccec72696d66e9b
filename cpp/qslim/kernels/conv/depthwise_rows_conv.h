// SPDX-License-Identifier: Apache-2.0
//
// DepthwiseRowsConv: int8 depthwise convolution of 3x3 or 5x5 by whole output rows
// (kernels/conv_blocks/depthwise_rows.h). A task is a band of output rows, or some of their channels.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "qslim/core/aligned_buffer.h"
#include "qslim/core/conv_geometry.h"
#include "qslim/core/span.h"
#include "qslim/core/thread_pool.h"
#include "qslim/kernels/conv/kernel_run.h"
#include "qslim/kernels/conv_blocks/depthwise_rows.h"

namespace qslim {

using DepthwiseRowsRun = KernelRun<DepthwiseRows>;

class DepthwiseRowsConv {
 public:
  // Return true for the kernel sizes, strides and dilations that there are kernels for.
  static bool suits(const ConvGeometry& geometry) noexcept;

  // weights [C, 1, side, side]; start [C]; multiplier [C]; bias [C] or empty for zeros.
  DepthwiseRowsConv(const ConvGeometry& geometry, Span<const std::int8_t> weights, std::uint8_t x_zero_point,
                    Span<const std::int32_t> start, Span<const float> multiplier, Span<const float> bias);

  std::size_t scratch_bytes(const ConvExtents& extents, std::size_t num_threads) const noexcept;
  void run(ThreadPool& pool, const ConvExtents& extents, const DepthwiseRowsRun& run,
           std::byte* scratch) const;

  std::size_t packed_bytes() const noexcept {
    return weights_.size() + 4 * (start_.size() + multiplier_.size() + bias_.size());
  }

 private:
  static constexpr std::uint32_t kNoChannel = ~std::uint32_t{0};

  struct Plan {
    std::size_t band, bands, splits;  // a task: `band` rows of an image and a part of the channels
    std::size_t outside_bytes, worker_bytes;
  };
  Plan plan(const ConvExtents& extents, std::size_t num_threads, bool to_sink) const noexcept;
  std::size_t blocks() const noexcept { return start_.size() / DepthwiseRows::kBlock; }
  void run_band(const Plan& plan, const ConvExtents& extents, const DepthwiseRowsRun& run, std::size_t task,
                const std::byte* outside, float* sink_rows) const;

  ConvGeometry geometry_;
  std::uint8_t x_zero_point_;
  AlignedBuffer<std::int8_t> weights_;
  AlignedBuffer<std::int32_t> start_;
  AlignedBuffer<float> multiplier_, bias_;
};

}  // namespace qslim
