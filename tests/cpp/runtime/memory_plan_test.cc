// SPDX-License-Identifier: Apache-2.0
//
// The arena's plan against what it promises: buffers that are alive at the same step do not overlap.
#include <gtest/gtest.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <random>
#include <vector>

#include "qslim/core/aligned_buffer.h"
#include "qslim/runtime/plan/plan.h"

namespace qslim::runtime {
namespace {

Plan random_plan(std::mt19937& random) {
  Plan plan;
  const std::size_t buffers = random() % 40, steps = 1 + random() % 40;
  for (std::size_t b = 0; b < buffers; ++b) {
    const auto kind = random() % 8 == 0 ? Buffer::Kind::kInput : Buffer::Kind::kArena;
    plan.buffers.push_back(Buffer{kind, random() % 4 == 0 ? 0 : random() % 5000, 0, nullptr});
  }
  plan.steps.resize(steps);
  for (Step& step : plan.steps) {
    step.scratch_bytes = random() % 1000;
    for (unsigned i = 0; buffers != 0 && i < random() % 4; ++i)
      step.reads.push_back(static_cast<int>(random() % buffers));
    if (buffers != 0) step.writes.push_back(static_cast<int>(random() % buffers));
  }
  return plan;
}

bool touches(const Step& step, int buffer) {
  return std::count(step.reads.begin(), step.reads.end(), buffer) +
             std::count(step.writes.begin(), step.writes.end(), buffer) >
         0;
}

// From the first step that touches it to the last one, by looking at all of them.
bool is_alive(const Plan& plan, int buffer, std::size_t step) {
  bool before = false, after = false;
  for (std::size_t s = 0; s < plan.steps.size(); ++s) {
    if (!touches(plan.steps[s], buffer)) continue;
    before = before || s <= step;
    after = after || s >= step;
  }
  return before && after;
}

TEST(MemoryPlan, LiveBuffersDoNotOverlap) {
  for (unsigned seed = 0; seed < 400; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    Plan plan = random_plan(random);
    place_buffers(plan);
    std::size_t scratch = 0, sum = 0, most_alive = 0;
    for (const Buffer& buffer : plan.buffers) sum += buffer.bytes + kReadSlack + kCacheLine;
    for (std::size_t s = 0; s < plan.steps.size(); ++s) {
      scratch = std::max(scratch, plan.steps[s].scratch_bytes);
      std::size_t alive_bytes = 0;
      std::vector<const Buffer*> alive;
      for (std::size_t b = 0; b < plan.buffers.size(); ++b) {
        const Buffer& buffer = plan.buffers[b];
        if (buffer.kind != Buffer::Kind::kArena || !is_alive(plan, static_cast<int>(b), s)) continue;
        ASSERT_EQ(buffer.place % kCacheLine, 0u);
        ASSERT_LE(buffer.place + buffer.bytes + kReadSlack, plan.arena_bytes);
        for (const Buffer* other : alive) {
          ASSERT_TRUE(buffer.place >= other->place + other->bytes + kReadSlack ||
                      other->place >= buffer.place + buffer.bytes + kReadSlack);
        }
        alive.push_back(&buffer);
        alive_bytes += buffer.bytes;
      }
      most_alive = std::max(most_alive, alive_bytes);
    }
    EXPECT_EQ(plan.scratch_bytes, scratch);
    EXPECT_LE(most_alive, plan.arena_bytes);
    EXPECT_LE(plan.arena_bytes, sum);
  }
}

// Of many buffers: those that live at once lie apart, and gaps are used again.
TEST(MemoryPlan, ThousandsOfBuffersDoNotOverlap) {
  constexpr int kCount = 12000;
  std::mt19937 random(3);
  Plan plan;
  std::vector<int> first(kCount), last(kCount);
  for (int b = 0; b < kCount; ++b) {
    plan.buffers.push_back(Buffer{Buffer::Kind::kArena, random() % 5000, 0, nullptr});
    Step step;
    step.writes = {b};
    first[static_cast<std::size_t>(b)] = last[static_cast<std::size_t>(b)] = b;
    for (unsigned i = 0; b > 0 && i < random() % 4; ++i) {
      const int read = std::max(0, b - 1 - static_cast<int>(random() % 60));
      step.reads.push_back(read);
      last[static_cast<std::size_t>(read)] = b;
    }
    plan.steps.push_back(step);
  }
  place_buffers(plan);
  std::map<std::size_t, int> alive;  // by place
  std::size_t sum = 0;
  for (int s = 0; s < kCount; ++s) {
    for (auto it = alive.begin(); it != alive.end();) {
      it = last[static_cast<std::size_t>(it->second)] < s ? alive.erase(it) : std::next(it);
    }
    const Buffer& buffer = plan.buffers[static_cast<std::size_t>(s)];
    const auto end = [](const Buffer& b) { return b.place + b.bytes + kReadSlack; };
    ASSERT_EQ(buffer.place % kCacheLine, 0u);
    ASSERT_LE(end(buffer), plan.arena_bytes);
    for (const auto& [place, other] : alive) {
      const Buffer& neighbour = plan.buffers[static_cast<std::size_t>(other)];
      ASSERT_TRUE(buffer.place >= end(neighbour) || place >= end(buffer));
    }
    alive[buffer.place] = s;
    sum += buffer.bytes;
  }
  EXPECT_LT(plan.arena_bytes, sum / 50);
}

TEST(MemoryPlan, AChainNeedsTwoPlaces) {
  Plan plan;
  for (int i = 0; i < 10; ++i) plan.buffers.push_back(Buffer{Buffer::Kind::kArena, 4096, 0, nullptr});
  for (int i = 0; i + 1 < 10; ++i) {
    Step step;
    step.reads = {i};
    step.writes = {i + 1};
    plan.steps.push_back(step);
  }
  place_buffers(plan);
  EXPECT_EQ(plan.arena_bytes, 2 * (4096 + kReadSlack));
}

}  // namespace
}  // namespace qslim::runtime
