// SPDX-License-Identifier: Apache-2.0
//
// DepthwiseConv: the parts of depthwise convolution that do not depend on the element type.
//
// A task is one output row, or some of its pixels or channels. Inside of a row all taps exist for every
// output and move by the same step, so they are set up once; the few outputs at the left and right border are
// set up one by one. Rows and pixels outside the image are read from a row in scratch that holds the
// padding.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "qslim/core/aligned_buffer.h"
#include "qslim/core/conv_geometry.h"
#include "qslim/core/span.h"
#include "qslim/core/thread_pool.h"
#include "qslim/kernels/conv/kernel_run.h"
#include "qslim/kernels/conv_blocks/depthwise_span.h"
#include "qslim/kernels/conv_blocks/layouts.h"

namespace qslim {

using DepthwiseRun = KernelRun<DepthwiseSpan>;

class DepthwiseConv {
 public:
  DepthwiseConv(const ConvGeometry& geometry, const DepthwiseLayout& layout, std::size_t x_element_bytes);

  // weight_at(channel, tap); taps count (kh, kw).
  template <class Element, class WeightAt>
  void pack_weights(const WeightAt& weight_at);
  // [C], or empty for zeros. Kernels for floats need a bias alone.
  void pack_start(Span<const std::int32_t> start) { start_ = in_lanes(start); }
  void pack_multiplier(Span<const float> multiplier) { multiplier_ = in_lanes(multiplier); }
  void pack_bias(Span<const float> bias) { bias_ = in_lanes(bias); }
  // Set the byte that pixels outside the image are made of.
  void set_outside(std::uint8_t outside) noexcept { outside_ = outside; }

  std::size_t scratch_bytes(const ConvExtents& extents, std::size_t num_threads) const noexcept;
  void run(ThreadPool& pool, const ConvExtents& extents, const DepthwiseRun& run, std::byte* scratch) const;

  std::size_t packed_bytes() const noexcept {
    return weights_.size() + 4 * (start_.size() + multiplier_.size() + bias_.size());
  }

 private:
  static constexpr std::uint32_t kNoChannel = ~std::uint32_t{0};

  struct Plan {
    std::size_t pixels, chunks, splits;  // a task: so many pixels of a row, and a part of the channels
    std::size_t outside_bytes, taps_bytes, worker_bytes;
  };
  Plan plan(const ConvExtents& extents, std::size_t num_threads, bool to_sink) const noexcept;
  std::size_t block() const noexcept { return layout_.lanes * layout_.vectors; }
  std::size_t steps() const noexcept {
    return tap_steps(geometry_.kernel_h, geometry_.kernel_w, layout_.depth);
  }
  TapEntry entry(std::size_t i) const noexcept {
    return tap_order(i, geometry_.kernel_h, geometry_.kernel_w, layout_.depth);
  }
  // Set the tap pointers of output (n, oh, ow) at channel `first`.
  void point_taps(const ConvExtents& extents, const DepthwiseRun& run, const std::byte* outside,
                  std::size_t row, std::size_t ow, std::size_t first, const unsigned char** taps) const;
  template <class T>
  AlignedBuffer<T> in_lanes(Span<const T> values) const;

  ConvGeometry geometry_;
  DepthwiseLayout layout_;
  std::size_t x_element_bytes_;
  std::uint8_t outside_ = 0;
  std::size_t taps_;
  AlignedBuffer<std::byte> weights_;
  AlignedBuffer<std::int32_t> start_;
  AlignedBuffer<float> multiplier_, bias_;
  std::vector<std::uint32_t> channel_;  // of each lane of each block
  // Of each entry of x, from an output's first row and column. Kept, as it takes divisions to find.
  struct Offset {
    std::size_t h, w;
  };
  std::vector<Offset> offsets_;
};

template <class Element, class WeightAt>
void DepthwiseConv::pack_weights(const WeightAt& weight_at) {
  weights_ = AlignedBuffer<std::byte>(channel_.size() * steps() * 4);
  std::byte* w = weights_.data();
  for (std::size_t first = 0; first < channel_.size(); first += block()) {
    for (std::size_t step = 0; step < steps(); ++step) {
      for (std::size_t i = 0; i < block(); ++i) {
        const std::uint32_t c = channel_[first + i];
        for (std::size_t d = 0; d < layout_.depth; ++d, w += sizeof(Element)) {
          const TapEntry tap = entry(step * layout_.depth + d);
          const Element weight =
              c != kNoChannel && tap.counts ? static_cast<Element>(weight_at(c, tap.tap)) : Element{};
          std::memcpy(w, &weight, sizeof weight);
        }
      }
    }
  }
}

template <class T>
AlignedBuffer<T> DepthwiseConv::in_lanes(Span<const T> values) const {
  AlignedBuffer<T> lanes(channel_.size());
  for (std::size_t i = 0; i < channel_.size(); ++i) {
    lanes[i] = values.empty() || channel_[i] == kNoChannel ? T{} : values[channel_[i]];
  }
  return lanes;
}

}  // namespace qslim
