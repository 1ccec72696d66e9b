// SPDX-License-Identifier: Apache-2.0
//
// ChannelTables make ChannelParams of scales and zero points; for_each_piece cuts a tensor into the pieces
// that kernels take.
//
// A piece is either `rows` rows of `inner` elements, one channel each, or (inner == 1) a run of elements
// whose channel changes with each of them. For the second kind the tables are repeated until they are at
// least kMinRun long, so that [n, 3] is as quick as [n, 512].
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "qslim/core/aligned_buffer.h"
#include "qslim/core/qparams.h"
#include "qslim/core/rounding.h"
#include "qslim/core/span.h"
#include "qslim/core/tensor_view.h"
#include "qslim/core/thread_pool.h"
#include "qslim/kernels/channel_params.h"

namespace qslim {

// One scale for the whole tensor or one per channel; one zero point for all of them or one per channel.
struct AffineParams {
  Span<const float> scale;
  Span<const std::int32_t> zero_point;
  std::int32_t qmin = -127;
  std::int32_t qmax = 127;
  Rounding rounding = Rounding::kTiesToEven;
};

// Elements per task: 256 KiB of float, a few microseconds; below the cost of waking a thread it stays on one.
inline constexpr std::size_t kElementsPerTask = 1 << 16;
inline constexpr std::size_t kMinRun = 256;

class ChannelTables {
 public:
  // Check `params` against `extents`; `function` is the name that errors start with.
  ChannelTables(const char* function, const ChannelExtents& extents, const AffineParams& params);

  ChannelParams at(std::size_t channel) const noexcept {
    const float* base = storage_.data() + channel;
    return ChannelParams{base, base + length_, base + 2 * length_, base + 3 * length_, base + 4 * length_};
  }
  // Channels, times how often they are repeated.
  std::size_t length() const noexcept { return length_; }

 private:
  std::size_t length_ = 0;
  AlignedBuffer<float> storage_;
};

struct ChannelPiece {
  std::size_t offset;   // first element, in the flat tensor
  std::size_t channel;  // first entry of the tables
  std::size_t rows;     // for a run of elements: how many
  std::size_t inner;
};

// Call rows(piece) or elements(piece) until every element was in exactly one piece.
template <class Rows, class Elements>
void for_each_piece(ThreadPool& pool, const ChannelExtents& extents, const ChannelTables& tables,
                    const Rows& rows, const Elements& elements) {
  const std::size_t size = extents.size();
  if (size == 0) return;
  if (extents.channels == 1) {
    pool.for_each_block(size, kElementsPerTask, [&](Block b) { rows(ChannelPiece{b.begin, 0, 1, b.size}); });
    return;
  }
  if (extents.inner == 1) {
    const std::size_t run = tables.length();
    const std::size_t task_size = run * std::max<std::size_t>(1, kElementsPerTask / run);
    pool.for_each_block(size, task_size, [&](Block b) {
      for (std::size_t done = 0; done < b.size; done += run) {
        elements(ChannelPiece{b.begin + done, 0, std::min(run, b.size - done), 1});
      }
    });
    return;
  }
  const std::size_t rows_per_task = std::max<std::size_t>(1, kElementsPerTask / extents.inner);
  pool.for_each_block(extents.outer * extents.channels, rows_per_task, [&](Block b) {
    for (std::size_t row = b.begin, end = b.begin + b.size; row < end;) {
      const std::size_t channel = row % extents.channels;
      const std::size_t count = std::min(end - row, extents.channels - channel);
      rows(ChannelPiece{row * extents.inner, channel, count, extents.inner});
      row += count;
    }
  });
}

}  // namespace qslim
