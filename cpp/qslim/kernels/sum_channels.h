// SPDX-License-Identifier: Apache-2.0
//
// Sums over a tensor, whole or per channel, in the order of reference/reduce.h, shared out among threads.
//
// Every element is in exactly one call, `channel` being the first one of the call, acc N running sums for it:
//
//   rows(count, inner, offset, channel, acc)   x[offset...] is `count` rows of `inner`; row r adds to acc[r]
//   elements(count, offset, channel, acc)      x[offset + i] adds to acc[i], i < count
//
// Calls that add to one channel come from one thread, over outer in order. A whole tensor is cut into the
// blocks of the definition, one row each, whose sums are then added in order.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <vector>

#include "qslim/core/span.h"
#include "qslim/core/tensor_view.h"
#include "qslim/core/thread_pool.h"
#include "qslim/kernels/sum_order.h"

namespace qslim {

template <std::size_t N, class Rows, class Elements>
void sum_channels(ThreadPool& pool, const ChannelExtents& e, const std::array<Span<double>, N>& results,
                  const Rows& rows, const Elements& elements) {
  constexpr std::size_t kMinPart = 1 << 16;  // elements worth a second thread
  for (const Span<double>& result : results) std::fill(result.begin(), result.end(), 0.0);
  const std::size_t size = e.size();
  if (size == 0) return;
  if (e.channels == 1) {
    const std::size_t blocks = (size + kSumBlock - 1) / kSumBlock;
    std::vector<double> block_sums(N * blocks, 0.0);
    pool.for_each_block(blocks, kMinPart / kSumBlock, [&](Block b) {
      for (std::size_t i = b.begin; i < b.begin + b.size; ++i) {
        std::array<double*, N> acc;
        for (std::size_t k = 0; k < N; ++k) acc[k] = &block_sums[k * blocks + i];
        rows(1, std::min(kSumBlock, size - i * kSumBlock), i * kSumBlock, 0, acc);
      }
    });
    for (std::size_t i = 0; i < N * blocks; ++i) results[i / blocks][0] += block_sums[i];
    return;
  }
  const std::size_t channels_per_task = std::max<std::size_t>(16, kMinPart / (e.outer * e.inner));
  pool.for_each_block(e.channels, channels_per_task, [&](Block b) {
    std::array<double*, N> acc;
    for (std::size_t k = 0; k < N; ++k) acc[k] = results[k].data() + b.begin;
    for (std::size_t o = 0; o < e.outer; ++o) {
      const std::size_t offset = (o * e.channels + b.begin) * e.inner;
      if (e.inner == 1) {
        elements(b.size, offset, b.begin, acc);
      } else {
        rows(b.size, e.inner, offset, b.begin, acc);
      }
    }
  });
}

}  // namespace qslim
