// SPDX-License-Identifier: Apache-2.0
//
// ColumnPanels: the output channels as the columns of B, in panels (kernels/conv_blocks/gemm_block.h), and
// packing into that order.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "qslim/core/aligned_buffer.h"
#include "qslim/core/span.h"
#include "qslim/kernels/conv_blocks/gemm_block.h"
#include "qslim/kernels/conv_blocks/layouts.h"

namespace qslim {

class ColumnPanels {
 public:
  // `columns` real ones in each group.
  ColumnPanels(const GemmLayout& layout, std::size_t groups, std::size_t columns)
      : layout_(layout), columns_(columns) {
    padded_columns_ = (columns + layout.lanes - 1) / layout.lanes * layout.lanes;
    channel_.reserve(groups * padded_columns_);
    for (std::size_t group = 0; group < groups; ++group) {
      for (std::size_t first = 0; first < columns;) {
        const std::size_t vectors = panel_vectors(columns - first, layout.lanes, layout.max_vectors);
        for (std::size_t j = 0; j < vectors; ++j) {
          for (std::size_t e = 0; e < layout.lanes; ++e) {
            const std::size_t column = first + column_at(j, e, layout.lanes, vectors, layout.packed_order);
            channel_.push_back(column < columns ? static_cast<std::uint32_t>(group * columns + column)
                                                : kNoChannel);
          }
        }
        first += vectors * layout.lanes;
      }
    }
  }

  const GemmLayout& layout() const noexcept { return layout_; }
  std::size_t size() const noexcept { return channel_.size(); }  // of all groups, padded
  // Of one group:
  std::size_t columns() const noexcept { return columns_; }
  std::size_t padded_columns() const noexcept { return padded_columns_; }
  std::size_t panels() const noexcept {
    return (columns_ + layout_.widest_panel() - 1) / layout_.widest_panel();
  }

  // One for each output channel, or zeros if there are none.
  template <class T>
  AlignedBuffer<T> in_columns(Span<const T> values) const {
    AlignedBuffer<T> columns(channel_.size());
    for (std::size_t i = 0; i < channel_.size(); ++i) {
      columns[i] = values.empty() || channel_[i] == kNoChannel ? T{} : values[channel_[i]];
    }
    return columns;
  }

  // Panels one after the other, each [matrix, step, column]. fill_columns(matrix, oc, w): the elements of K
  // of output channel oc, into zeros.
  template <class Element, class FillColumns>
  AlignedBuffer<std::byte> pack(std::size_t matrices, std::size_t steps,
                                const FillColumns& fill_columns) const {
    AlignedBuffer<std::byte> packed(channel_.size() * matrices * steps * 4);
    std::byte* b = packed.data();
    const std::size_t padded_k = steps * layout_.depth;
    std::vector<Element> panel(layout_.widest_panel() * padded_k);
    for (std::size_t first = 0, width = 0; first < channel_.size(); first += width) {
      const std::size_t rest = columns_ - first % padded_columns_;
      width = panel_vectors(rest, layout_.lanes, layout_.max_vectors) * layout_.lanes;
      for (std::size_t matrix = 0; matrix < matrices; ++matrix) {
        std::fill(panel.begin(), panel.end(), Element{});
        for (std::size_t i = 0; i < width; ++i) {
          const std::uint32_t channel = channel_[first + i];
          if (channel != kNoChannel) fill_columns(matrix, channel, panel.data() + i * padded_k);
        }
        for (std::size_t step = 0; step < steps; ++step) {
          for (std::size_t i = 0; i < width; ++i, b += 4) {
            std::memcpy(b, panel.data() + i * padded_k + step * layout_.depth, 4);
          }
        }
      }
    }
    return packed;
  }

 private:
  static constexpr std::uint32_t kNoChannel = ~std::uint32_t{0};

  GemmLayout layout_;
  std::size_t columns_, padded_columns_;
  std::vector<std::uint32_t> channel_;  // output channel
};

}  // namespace qslim
