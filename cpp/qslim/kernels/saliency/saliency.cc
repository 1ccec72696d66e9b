// SPDX-License-Identifier: Apache-2.0
//
// Checks, dispatch and blocking of filter saliency.
//
// Distances: the filters are cut into blocks of kDistanceRows. A task takes one pair of blocks, each pair
// once, converts runs of kDistanceRun elements of both to double and leaves, for each filter of either block,
// its sum of distances to the filters of the other. The sums of the blocks are added last, in order.
#include "qslim/kernels/saliency/saliency.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <utility>
#include <vector>

#include "qslim/core/aligned_buffer.h"
#include "qslim/core/dispatch.h"
#include "qslim/kernels/reduce/reduce.h"
#include "qslim/kernels/saliency/table.h"
#include "qslim/kernels/sum_channels.h"

namespace qslim {
namespace {

using Acc = std::array<double*, 1>;

void sum_of_magnitudes(Context& context, const SaliencyKernels& kernels, const float* x,
                       const ChannelExtents& e, Span<double> result) {
  sum_channels<1>(
      context.pool(), e, {result},
      [&](std::size_t rows, std::size_t inner, std::size_t offset, std::size_t, const Acc& acc) {
        kernels.magnitudes_rows(rows, inner, x + offset, acc[0]);
      },
      [&](std::size_t n, std::size_t offset, std::size_t, const Acc& acc) {
        kernels.magnitudes_elements(n, x + offset, acc[0]);
      });
}

void sum_of_products(Context& context, const SaliencyKernels& kernels, const float* x, const float* g,
                     const ChannelExtents& e, Span<double> result) {
  sum_channels<1>(
      context.pool(), e, {result},
      [&](std::size_t rows, std::size_t inner, std::size_t offset, std::size_t, const Acc& acc) {
        kernels.products_rows(rows, inner, x + offset, g + offset, acc[0]);
      },
      [&](std::size_t n, std::size_t offset, std::size_t, const Acc& acc) {
        kernels.products_elements(n, x + offset, g + offset, acc[0]);
      });
}

// Elements [begin, begin + count) of the filter `channel`, its parts over outer laid end to end.
void copy_filter(const float* x, const ChannelExtents& e, std::size_t channel, std::size_t begin,
                 std::size_t count, double* to) {
  std::size_t outer = begin / e.inner, inner = begin % e.inner;
  while (count > 0) {
    const std::size_t part = std::min(count, e.inner - inner);
    const float* from = x + (outer * e.channels + channel) * e.inner + inner;
    for (std::size_t i = 0; i < part; ++i) to[i] = from[i];
    to += part;
    count -= part;
    inner = 0;
    ++outer;
  }
}

// The panels that one thread works on.
struct Panels {
  AlignedBuffer<double> a{kDistanceRows * kDistanceRun}, b{kDistanceRows * kDistanceRun};
  AlignedBuffer<double> acc{kDistanceRows * kDistanceRows * kDistanceLanes};

  double distance(std::size_t i, std::size_t j) const {
    const double* lanes = acc.data() + (i * kDistanceRows + j) * kDistanceLanes;
    return std::sqrt((lanes[0] + lanes[2]) + (lanes[1] + lanes[3]));
  }
};

void fill_panel(const float* x, const ChannelExtents& e, std::size_t first, std::size_t rows,
                std::size_t begin, std::size_t count, AlignedBuffer<double>& panel) {
  for (std::size_t r = 0; r < rows; ++r) {
    double* row = panel.data() + r * kDistanceRun;
    copy_filter(x, e, first + r, begin, count, row);
    std::fill(row + count, row + (count + kDistanceLanes - 1) / kDistanceLanes * kDistanceLanes, 0.0);
  }
}

void sum_of_distances(Context& context, const SaliencyKernels& kernels, const float* x,
                      const ChannelExtents& e, Span<double> result) {
  const std::size_t n = e.channels, length = e.outer * e.inner;
  const std::size_t blocks = (n + kDistanceRows - 1) / kDistanceRows;
  std::vector<std::pair<std::size_t, std::size_t>> tasks;
  for (std::size_t i = 0; i < blocks; ++i) {
    for (std::size_t j = i; j < blocks; ++j) tasks.emplace_back(i, j);
  }
  std::vector<double> of_block(blocks * n, 0.0);  // [b][i]: the distances of i to the filters of block b
  std::vector<Panels> panels(context.pool().num_threads());
  for (Panels& p : panels) {
    // Rows past the last filter are multiplied along; let them be numbers.
    std::fill(p.a.data(), p.a.data() + p.a.size(), 0.0);
    std::fill(p.b.data(), p.b.data() + p.b.size(), 0.0);
  }
  context.pool().run(tasks.size(), [&](std::size_t task, std::size_t worker) {
    const auto [block_a, block_b] = tasks[task];
    const std::size_t first_a = block_a * kDistanceRows, rows_a = std::min(kDistanceRows, n - first_a);
    const std::size_t first_b = block_b * kDistanceRows, rows_b = std::min(kDistanceRows, n - first_b);
    Panels& p = panels[worker];
    std::fill(p.acc.data(), p.acc.data() + p.acc.size(), 0.0);
    for (std::size_t begin = 0; begin < length; begin += kDistanceRun) {
      const std::size_t count = std::min(kDistanceRun, length - begin);
      fill_panel(x, e, first_a, rows_a, begin, count, p.a);
      if (block_a != block_b) fill_panel(x, e, first_b, rows_b, begin, count, p.b);
      const std::size_t padded = (count + kDistanceLanes - 1) / kDistanceLanes * kDistanceLanes;
      const double* b = block_a != block_b ? p.b.data() : p.a.data();
      kernels.squared_distances(rows_a, rows_b, padded, p.a.data(), b, p.acc.data());
    }
    double* to_b = of_block.data() + block_b * n + first_a;
    double* to_a = of_block.data() + block_a * n + first_b;
    for (std::size_t i = 0; i < rows_a; ++i) {
      for (std::size_t j = 0; j < rows_b; ++j) {
        const double distance = p.distance(i, j);
        to_b[i] += distance;
        if (block_a != block_b) to_a[j] += distance;
      }
    }
  });
  for (std::size_t b = 0; b < blocks; ++b) {
    for (std::size_t i = 0; i < n; ++i) result[i] += of_block[b * n + i];
  }
}

}  // namespace

void filter_saliency(Context& context, Span<const float> weight, Span<const float> gradient,
                     const ChannelExtents& extents, SaliencyCriterion criterion, Span<float> result) {
  const char* name = "filter_saliency";
  QSLIM_REQUIRE(weight.size() == extents.size(), name, ": weight has ", weight.size(),
                " elements but its shape ", extents.size());
  QSLIM_REQUIRE(result.size() == extents.channels, name, ": the result must have ", extents.channels,
                " elements, got ", result.size());
  const std::size_t expected = criterion == SaliencyCriterion::kTaylor ? weight.size() : 0;
  QSLIM_REQUIRE(gradient.size() == expected, name, ": gradient must have ", expected, " elements, got ",
                gradient.size());
  std::fill(result.begin(), result.end(), 0.0f);
  if (weight.empty()) return;
  const ChannelExtents e = normalized(extents);
  const SaliencyKernels& kernels = best_kernel(kSaliencyKernels, context.isa());
  std::vector<double> scores(e.channels, 0.0);
  switch (criterion) {
    case SaliencyCriterion::kL1Norm:
      sum_of_magnitudes(context, kernels, weight.data(), e, scores);
      for (double& score : scores) score /= static_cast<double>(e.outer * e.inner);
      break;
    case SaliencyCriterion::kL2Norm:
      sum_of_squares(context, weight, e, scores);
      for (double& score : scores) score = std::sqrt(score);
      break;
    case SaliencyCriterion::kFpgm: sum_of_distances(context, kernels, weight.data(), e, scores); break;
    case SaliencyCriterion::kTaylor:
      sum_of_products(context, kernels, weight.data(), gradient.data(), e, scores);
      for (double& score : scores) score *= score;
      break;
  }
  for (std::size_t c = 0; c < e.channels; ++c) result[c] = static_cast<float>(scores[c]);
}

}  // namespace qslim
