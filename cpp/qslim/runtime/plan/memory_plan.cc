// SPDX-License-Identifier: Apache-2.0
//
// Offsets by size: the largest buffer first, each at the lowest place that is free during its whole life.
// Of a network of many thousand buffers, by time.
// Source: Pisarchyk & Lee 2020 (arXiv:2001.03288), "greedy by size".
#include <algorithm>
#include <iterator>
#include <limits>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "qslim/core/aligned_buffer.h"
#include "qslim/runtime/plan/plan.h"

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

// Beyond this many buffers the search over pairs takes seconds.
constexpr std::size_t kMostByPairs = 5000;

std::size_t reserved(const Buffer& buffer) {
  return (buffer.bytes + kReadSlack + kCacheLine - 1) / kCacheLine * kCacheLine;
}

// In the order of their lifetimes, each in the smallest gap that holds it: n log n, and not as tight.
void place_by_time(Plan& plan, const std::vector<Life>& lives, const std::vector<std::size_t>& buffers) {
  std::vector<std::size_t> by_first = buffers, by_last = buffers;
  std::stable_sort(by_first.begin(), by_first.end(),
                   [&](std::size_t a, std::size_t b) { return lives[a].first < lives[b].first; });
  std::stable_sort(by_last.begin(), by_last.end(),
                   [&](std::size_t a, std::size_t b) { return lives[a].last < lives[b].last; });
  std::map<std::size_t, std::size_t> gaps;              // place to size
  std::set<std::pair<std::size_t, std::size_t>> sizes;  // size, place
  const auto open_gap = [&](std::size_t place, std::size_t size) {
    gaps[place] = size;
    sizes.insert({size, place});
  };
  const auto close_gap = [&](std::map<std::size_t, std::size_t>::iterator gap) {
    sizes.erase({gap->second, gap->first});
    gaps.erase(gap);
  };
  std::size_t ended = 0;
  for (const std::size_t b : by_first) {
    for (; ended < by_last.size() && lives[by_last[ended]].last < lives[b].first; ++ended) {
      const Buffer& dead = plan.buffers[by_last[ended]];
      std::size_t place = dead.place, size = reserved(dead);
      auto next = gaps.lower_bound(place);
      if (next != gaps.end() && place + size == next->first) {
        size += next->second;
        close_gap(next++);
      }
      if (next != gaps.begin()) {
        const auto before = std::prev(next);
        if (before->first + before->second == place) {
          place = before->first;
          size += before->second;
          close_gap(before);
        }
      }
      open_gap(place, size);
    }
    Buffer& buffer = plan.buffers[b];
    const auto fit = sizes.lower_bound({reserved(buffer), 0});
    if (fit == sizes.end()) {
      buffer.place = plan.arena_bytes;
      plan.arena_bytes += reserved(buffer);
      continue;
    }
    const auto [size, place] = *fit;
    close_gap(gaps.find(place));
    buffer.place = place;
    if (size > reserved(buffer)) open_gap(place + reserved(buffer), size - reserved(buffer));
  }
}

}  // namespace

void place_buffers(Plan& plan) {
  std::vector<Life> lives(plan.buffers.size());
  for (std::size_t s = 0; s < plan.steps.size(); ++s) {
    for (const int b : plan.steps[s].reads) lives[static_cast<std::size_t>(b)].touch(s);
    for (const int b : plan.steps[s].writes) lives[static_cast<std::size_t>(b)].touch(s);
    plan.scratch_bytes = std::max(plan.scratch_bytes, plan.steps[s].scratch_bytes);
  }
  std::vector<std::size_t> order;
  for (std::size_t b = 0; b < plan.buffers.size(); ++b) {
    if (plan.buffers[b].kind == Buffer::Kind::kArena && lives[b].is_used()) order.push_back(b);
  }
  if (order.size() > kMostByPairs) return place_by_time(plan, lives, order);
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return plan.buffers[a].bytes > plan.buffers[b].bytes;
  });
  std::vector<std::size_t> placed;  // by offset
  for (const std::size_t b : order) {
    Buffer& buffer = plan.buffers[b];
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
