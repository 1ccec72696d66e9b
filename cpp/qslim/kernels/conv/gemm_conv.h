// SPDX-License-Identifier: Apache-2.0
//
// GemmConv: the parts of convolution by matrix products that do not depend on the element type.
//
// The rows of A are output pixels, its columns the taps (kh, kw, ic) of a group; B is packed once, in panels
// (kernels/conv_blocks/gemm_block.h). run() cuts the pixels into blocks, brings the taps of a block together
// in a worker's scratch (or reads x in place where the rows of A lie there already) and multiplies them with
// the panels. With a block in the second-level cache, bringing it together costs 1 to 3 % of the product, so
// there is no table of pointers to keep.
// The first convolution of a network has so few channels that bringing patches together takes longer than the
// product. There the columns of A are the taps (kw, kh, ic): laid out image column by image column, the
// patches of neighbouring outputs overlap, and what they share is written once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "qslim/core/aligned_buffer.h"
#include "qslim/core/conv_geometry.h"
#include "qslim/core/span.h"
#include "qslim/core/thread_pool.h"
#include "qslim/kernels/conv/column_panels.h"
#include "qslim/kernels/conv/kernel_run.h"
#include "qslim/kernels/conv_blocks/gemm_block.h"

namespace qslim {

using GemmRun = KernelRun<GemmBlock>;

class GemmConv {
 public:
  using Gather = void (*)(const PatchBlock&) noexcept;

  // x_element_bytes is the size of an element of x; depth * the size of an element of A is 4. gather_columns
  // may be null; it is taken for elements that A holds as they are.
  GemmConv(const ConvGeometry& geometry, const GemmLayout& layout, std::size_t x_element_bytes,
           int x_zero_point, Gather gather, Gather gather_columns = nullptr);

  // Return the place of tap kh * KW + kw among the columns of A, in groups of input channels.
  std::size_t tap_place(std::size_t tap) const noexcept {
    const std::size_t kh = tap / geometry_.kernel_w, kw = tap % geometry_.kernel_w;
    return by_columns() ? kw * geometry_.kernel_h + kh : tap;
  }
  // fill_columns(oc, w): the weights of output channel oc for the columns of A, into zeros.
  template <class Element, class FillColumns>
  void pack_weights(const FillColumns& fill_columns);
  // [OC], or empty for zeros. Kernels for floats need a bias alone.
  void pack_start(Span<const std::int32_t> start) { start_ = panels_.in_columns(start); }
  void pack_multiplier(Span<const float> multiplier) { multiplier_ = panels_.in_columns(multiplier); }
  void pack_bias(Span<const float> bias) { bias_ = panels_.in_columns(bias); }

  std::size_t scratch_bytes(const ConvExtents& extents, std::size_t num_threads) const noexcept;
  void run(ThreadPool& pool, const ConvExtents& extents, const GemmRun& run, std::byte* scratch) const;

  std::size_t packed_bytes() const noexcept {
    return b_.size() + 4 * (start_.size() + multiplier_.size() + bias_.size());
  }

 private:
  struct Plan {
    std::size_t pixels, blocks, block_rows, splits;
    std::size_t a_stride, a_bytes, worker_bytes;
    bool in_place, ends_with_rows;
  };
  Plan plan(const ConvExtents& extents, std::size_t num_threads, bool to_sink) const noexcept;
  bool by_columns() const noexcept { return !column_bytes_.empty(); }
  PatchBlock patches_of(const ConvExtents& extents, const void* x) const noexcept;
  void run_block(const Plan& plan, const ConvExtents& extents, const GemmRun& run, std::size_t block,
                 std::size_t split, std::byte* scratch) const;

  ConvGeometry geometry_;
  std::size_t x_element_bytes_;
  int x_zero_point_;
  Gather gather_;
  std::vector<unsigned char> column_bytes_;  // see PatchBlock; empty: patch by patch
  ColumnPanels panels_;
  std::size_t steps_;
  AlignedBuffer<std::byte> b_;  // [groups, panels]
  // [groups, padded columns]
  AlignedBuffer<std::int32_t> start_;
  AlignedBuffer<float> multiplier_, bias_;
};

template <class Element, class FillColumns>
void GemmConv::pack_weights(const FillColumns& fill_columns) {
  b_ =
      panels_.pack<Element>(1, steps_, [&](std::size_t, std::size_t oc, Element* w) { fill_columns(oc, w); });
}

}  // namespace qslim
