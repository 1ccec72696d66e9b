// SPDX-License-Identifier: Apache-2.0
//
// Checks, dispatch and blocking of the reductions.
//
// Minima and maxima do not mind the order: the tensor is cut into as many parts as there are threads. Sums
// do: sum_channels.h keeps it.
#include "qslim/kernels/reduce/reduce.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "qslim/core/dispatch.h"
#include "qslim/kernels/reduce/table.h"
#include "qslim/kernels/sum_channels.h"

namespace qslim {
namespace {

constexpr std::size_t kMinPart = 1 << 16;  // elements worth a second thread
constexpr std::size_t kMinRun = 256;       // elements worth a kernel call

// Channels-last rows are short when channels are few: take several at a time, their columns are folded later.
std::size_t run_length(const ChannelExtents& e) {
  if (e.inner != 1 || e.channels >= kMinRun) return e.channels;
  return e.channels * std::min(std::max<std::size_t>(1, e.outer), (kMinRun + e.channels - 1) / e.channels);
}

// Folds x into `parts` tables of `run` accumulators each: rows(part, rows, inner, offset, slot) folds whole
// rows into accumulators slot, slot + 1, ...; elements(part, n, offset) folds a run into accumulators 0, 1,
// ...
template <class Rows, class Elements>
void fold_parts(ThreadPool& pool, std::size_t parts, std::size_t run, const ChannelExtents& e,
                const Rows& rows, const Elements& elements) {
  pool.run(parts, [&](std::size_t part) {
    if (e.channels == 1) {
      const std::size_t begin = e.size() * part / parts, end = e.size() * (part + 1) / parts;
      rows(part, 1, end - begin, begin, 0);
    } else if (e.inner == 1) {
      const std::size_t runs = (e.size() + run - 1) / run;
      for (std::size_t i = runs * part / parts; i < runs * (part + 1) / parts; ++i) {
        elements(part, std::min(run, e.size() - i * run), i * run);
      }
    } else {
      const std::size_t all = e.outer * e.channels;
      const std::size_t end = all * (part + 1) / parts;
      for (std::size_t row = all * part / parts; row < end;) {
        const std::size_t slot = row % e.channels, count = std::min(end - row, e.channels - slot);
        rows(part, count, e.inner, row * e.inner, slot);
        row += count;
      }
    }
  });
}

std::size_t part_count(ThreadPool& pool, const ChannelExtents& e) {
  return std::max<std::size_t>(1, std::min(pool.num_threads(), e.size() / kMinPart));
}

template <class T>
float float_of(T bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

std::int32_t order_key(std::int32_t bits) { return bits < 0 ? bits ^ 0x7fffffff : bits; }

void check(const char* function, std::size_t x, const ChannelExtents& e, std::size_t result) {
  QSLIM_REQUIRE(x == e.size(), function, ": x has ", x, " elements but its shape ", e.size());
  QSLIM_REQUIRE(result == e.channels, function, ": the result must have ", e.channels, " elements, got ",
                result);
}

void sum_of_terms(Context& context, SumRowsFn rows, SumElementsFn elements, Span<const float> x,
                  const ChannelExtents& e, Span<double> result) {
  using Acc = std::array<double*, 1>;
  sum_channels<1>(
      context.pool(), e, {result},
      [&](std::size_t count, std::size_t inner, std::size_t offset, std::size_t, const Acc& acc) {
        rows(count, inner, x.data() + offset, acc[0]);
      },
      [&](std::size_t count, std::size_t offset, std::size_t, const Acc& acc) {
        elements(count, x.data() + offset, acc[0]);
      });
}

}  // namespace

void abs_max(Context& context, Span<const float> x, const ChannelExtents& extents, Span<float> result) {
  check("abs_max", x.size(), extents, result.size());
  const ChannelExtents e = normalized(extents);
  const ReduceKernels& kernels = best_kernel(kReduceKernels, context.isa());
  const std::size_t run = run_length(e), parts = part_count(context.pool(), e);
  std::vector<std::uint32_t> acc(run * parts, 0);
  if (!x.empty()) {
    fold_parts(
        context.pool(), parts, run, e,
        [&](std::size_t part, std::size_t rows, std::size_t inner, std::size_t offset, std::size_t slot) {
          kernels.abs_max_rows(rows, inner, x.data() + offset, acc.data() + part * run + slot);
        },
        [&](std::size_t part, std::size_t n, std::size_t offset) {
          kernels.abs_max_elements(n, x.data() + offset, acc.data() + part * run);
        });
  }
  for (std::size_t i = e.channels; i < acc.size(); ++i)
    acc[i % run % e.channels] = std::max(acc[i % run % e.channels], acc[i]);
  for (std::size_t c = 0; c < e.channels; ++c) result[c] = float_of(acc[c]);
}

void min_max(Context& context, Span<const float> x, const ChannelExtents& extents, Span<float> min,
             Span<float> max) {
  check("min_max", x.size(), extents, min.size());
  check("min_max", x.size(), extents, max.size());
  if (extents.channels == 0) return;
  QSLIM_REQUIRE(!x.empty(), "min_max: x must not be empty");
  const ChannelExtents e = normalized(extents);
  const ReduceKernels& kernels = best_kernel(kReduceKernels, context.isa());
  const std::size_t run = run_length(e), parts = part_count(context.pool(), e);
  std::vector<std::int32_t> low(run * parts, INT32_MAX), high(run * parts, INT32_MIN);
  fold_parts(
      context.pool(), parts, run, e,
      [&](std::size_t part, std::size_t rows, std::size_t inner, std::size_t offset, std::size_t slot) {
        const std::size_t first = part * run + slot;
        kernels.min_max_rows(rows, inner, x.data() + offset, low.data() + first, high.data() + first);
      },
      [&](std::size_t part, std::size_t n, std::size_t offset) {
        kernels.min_max_elements(n, x.data() + offset, low.data() + part * run, high.data() + part * run);
      });
  for (std::size_t i = e.channels; i < low.size(); ++i) {
    const std::size_t c = i % run % e.channels;
    low[c] = std::min(low[c], low[i]);
    high[c] = std::max(high[c], high[i]);
  }
  for (std::size_t c = 0; c < e.channels; ++c) {
    min[c] = float_of(order_key(low[c]));
    max[c] = float_of(order_key(high[c]));
    if (std::isnan(min[c]) || std::isnan(max[c])) min[c] = max[c] = std::numeric_limits<float>::quiet_NaN();
  }
}

void sum(Context& context, Span<const float> x, const ChannelExtents& extents, Span<double> result) {
  check("sum", x.size(), extents, result.size());
  const ReduceKernels& kernels = best_kernel(kReduceKernels, context.isa());
  sum_of_terms(context, kernels.sum_rows, kernels.sum_elements, x, normalized(extents), result);
}

void sum_of_squares(Context& context, Span<const float> x, const ChannelExtents& extents,
                    Span<double> result) {
  check("sum_of_squares", x.size(), extents, result.size());
  const ReduceKernels& kernels = best_kernel(kReduceKernels, context.isa());
  sum_of_terms(context, kernels.sum_of_squares_rows, kernels.sum_of_squares_elements, x, normalized(extents),
               result);
}

void min_max_rows(Isa isa, std::size_t rows, std::size_t inner, const float* x, float* min, float* max) {
  const MinMaxRowsFn kernel = best_kernel(kReduceKernels, isa).min_max_rows;
  for (std::size_t r = 0; r < rows; ++r) {
    std::int32_t low = INT32_MAX, high = INT32_MIN;
    kernel(1, inner, x + r * inner, &low, &high);
    min[r] = float_of(order_key(low));
    max[r] = float_of(order_key(high));
  }
}

}  // namespace qslim
