// SPDX-License-Identifier: Apache-2.0
//
// Offsets by size: the largest buffer first, each at the lowest place that is free during its whole life.
// Source: Pisarchyk & Lee 2020 (arXiv:2001.03288), "greedy by size".
#include <algorithm>
#include <limits>
#include <numeric>

#include "qslim/core/aligned_buffer.h"
#include "qslim/runtime/plan.h"

namespace qslim::runtime {
namespace {

struct Life {
  std::size_t first = std::numeric_limits<std::size_t>::max();
  std::size_t last = 0;

  void touch(std::size_t step) {
    first = std::min(first, step);
    last = std::max(last, step);
  }
  bool meets(const Life& other) const { return first <= other.last && other.first <= last; }
  bool is_used() const { return first <= last; }
};

std::size_t reserved(const Buffer& buffer) {
  return (buffer.bytes + kReadSlack + kCacheLine - 1) / kCacheLine * kCacheLine;
}

}  // namespace

void place_buffers(Plan& plan) {
  std::vector<Life> lives(plan.buffers.size());
  for (std::size_t s = 0; s < plan.steps.size(); ++s) {
    for (const int b : plan.steps[s].reads) lives[static_cast<std::size_t>(b)].touch(s);
    for (const int b : plan.steps[s].writes) lives[static_cast<std::size_t>(b)].touch(s);
    plan.scratch_bytes = std::max(plan.scratch_bytes, plan.steps[s].scratch_bytes);
  }
  std::vector<std::size_t> order(plan.buffers.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return plan.buffers[a].bytes > plan.buffers[b].bytes;
  });
  std::vector<std::size_t> placed;  // by offset
  for (const std::size_t b : order) {
    Buffer& buffer = plan.buffers[b];
    if (buffer.kind != Buffer::Kind::kArena || !lives[b].is_used()) continue;
    std::size_t offset = 0;
    for (const std::size_t other : placed) {
      if (!lives[b].meets(lives[other])) continue;
      const Buffer& neighbour = plan.buffers[other];
      if (offset + reserved(buffer) <= neighbour.place) break;
      offset = std::max(offset, neighbour.place + reserved(neighbour));
    }
    buffer.place = offset;
    plan.arena_bytes = std::max(plan.arena_bytes, offset + reserved(buffer));
    placed.insert(std::upper_bound(placed.begin(), placed.end(), offset,
                                   [&](std::size_t o, std::size_t p) { return o < plan.buffers[p].place; }),
                  b);
  }
}

}  // namespace qslim::runtime
