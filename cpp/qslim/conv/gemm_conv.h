// SPDX-License-Identifier: Apache-2.0
//
// GemmConv: convolution by matrix products, all that does not depend on the element type.
//
// The rows of A are output pixels, its columns the taps (kh, kw, ic) of a group; B is packed once, in panels
// (kernels/gemm/block.h). run() cuts the pixels into blocks, brings the taps of a block together in a
// worker's scratch (or reads x in place where the rows of A lie there already) and multiplies them with the
// panels. With a block in the second-level cache, bringing it together costs 1 to 3 % of the product, so
// there is no table of pointers to keep.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "qslim/conv/geometry.h"
#include "qslim/conv/pixel_sink.h"
#include "qslim/core/aligned_buffer.h"
#include "qslim/core/span.h"
#include "qslim/core/thread_pool.h"
#include "qslim/kernels/gemm/block.h"

namespace qslim {

// How a kernel wants B; see kernels.inc of the families.
struct GemmLayout {
  std::size_t lanes, max_vectors;
  std::size_t depth;  // elements of A in a step of 4 bytes
  bool packed_order;
};

struct GemmRun {
  const void* x = nullptr;
  unsigned char* y = nullptr;
  std::size_t y_element_bytes = 0;
  PixelSink sink;  // instead of y, if it has a function
  // Multiplies one block.
  void (*multiply)(const void* self, const GemmBlock& block) = nullptr;
  const void* self = nullptr;
};

class GemmConv {
 public:
  // x_element_bytes is the size of an element of x; depth * the size of an element of A is 4.
  GemmConv(const ConvGeometry& geometry, const GemmLayout& layout, std::size_t x_element_bytes,
           int x_zero_point, void (*gather)(const PatchBlock&) noexcept);

  // fill_columns(oc, w): the weights of output channel oc for the columns of A, into zeros.
  template <class Element, class FillColumns>
  void pack_weights(const FillColumns& fill_columns);
  // [OC], or empty for zeros. Kernels for floats need a bias alone.
  void pack_start(Span<const std::int32_t> start) { start_ = in_columns(start); }
  void pack_multiplier(Span<const float> multiplier) { multiplier_ = in_columns(multiplier); }
  void pack_bias(Span<const float> bias) { bias_ = in_columns(bias); }

  std::size_t scratch_bytes(const ConvExtents& extents, std::size_t num_threads) const noexcept;
  void run(ThreadPool& pool, const ConvExtents& extents, const GemmRun& run, std::byte* scratch) const;

  std::size_t packed_bytes() const noexcept {
    return b_.size() + 4 * (start_.size() + multiplier_.size() + bias_.size());
  }

 private:
  static constexpr std::uint32_t kNoChannel = ~std::uint32_t{0};

  struct Plan {
    std::size_t pixels, blocks, block_rows, splits;
    std::size_t a_stride, a_bytes, worker_bytes;
    bool in_place;
  };
  Plan plan(const ConvExtents& extents, std::size_t num_threads, bool to_sink) const noexcept;
  std::size_t widest_panel() const noexcept { return layout_.lanes * layout_.max_vectors; }
  void run_block(const Plan& plan, const ConvExtents& extents, const GemmRun& run, std::size_t block,
                 std::size_t split, std::byte* scratch) const;
  template <class T>
  AlignedBuffer<T> in_columns(Span<const T> values) const;

  ConvGeometry geometry_;
  GemmLayout layout_;
  std::size_t x_element_bytes_;
  int x_zero_point_;
  void (*gather_)(const PatchBlock&) noexcept;
  std::size_t k_, steps_, columns_, padded_columns_, panels_;  // of one group
  AlignedBuffer<std::byte> b_;                                 // [groups, panels]
  // [groups, padded_columns]
  AlignedBuffer<std::int32_t> start_;
  AlignedBuffer<float> multiplier_, bias_;
  std::vector<std::uint32_t> channel_;  // output channel
};

template <class Element, class FillColumns>
void GemmConv::pack_weights(const FillColumns& fill_columns) {
  b_ = AlignedBuffer<std::byte>(geometry_.groups * padded_columns_ * steps_ * 4);
  std::byte* b = b_.data();
  const std::size_t padded_k = steps_ * layout_.depth;
  std::vector<Element> panel(layout_.lanes * layout_.max_vectors * padded_k);
  for (std::size_t first = 0; first < channel_.size();) {
    const std::size_t in_group = first % padded_columns_;
    const std::size_t vectors = panel_vectors(columns_ - in_group, layout_.lanes, layout_.max_vectors);
    const std::size_t width = vectors * layout_.lanes;
    std::fill(panel.begin(), panel.end(), Element{});
    for (std::size_t i = 0; i < width; ++i) {
      if (channel_[first + i] != kNoChannel) fill_columns(channel_[first + i], panel.data() + i * padded_k);
    }
    for (std::size_t step = 0; step < steps_; ++step) {
      for (std::size_t i = 0; i < width; ++i, b += 4) {
        std::memcpy(b, panel.data() + i * padded_k + step * layout_.depth, 4);
      }
    }
    first += width;
  }
}

template <class T>
AlignedBuffer<T> GemmConv::in_columns(Span<const T> values) const {
  AlignedBuffer<T> columns(channel_.size());
  for (std::size_t i = 0; i < channel_.size(); ++i) {
    columns[i] = values.empty() || channel_[i] == kNoChannel ? T{} : values[channel_[i]];
  }
  return columns;
}

}  // namespace qslim
