// SPDX-License-Identifier: Apache-2.0
//
// Checks, dispatch and blocking of the gradients of learned quantization.
#include "qslim/kernels/learned_quant/learned_quant.h"

#include <array>
#include <cmath>

#include "qslim/core/dispatch.h"
#include "qslim/kernels/learned_quant/table.h"
#include "qslim/kernels/sum_channels.h"

namespace qslim {
namespace {

void check_sizes(const char* function, const ChannelExtents& e, std::size_t x, std::size_t g,
                 std::size_t dx) {
  QSLIM_REQUIRE(x == e.size(), function, ": x has ", x, " elements but its shape ", e.size());
  QSLIM_REQUIRE(x == g, function, ": x has ", x, " elements but grad has ", g);
  QSLIM_REQUIRE(x == dx, function, ": x has ", x, " elements but out has ", dx);
}

void check_sum(const char* function, const char* name, const ChannelExtents& e, std::size_t size) {
  QSLIM_REQUIRE(size == e.channels, function, ": ", name, " must have ", e.channels, " elements, got ", size);
}

}  // namespace

void pact_backward(Context& context, Span<const float> x, Span<const float> g, const ChannelExtents& extents,
                   Span<const float> threshold, bool is_unsigned, Span<float> dx, Span<double> dthreshold) {
  const char* name = "pact_backward";
  check_sizes(name, extents, x.size(), g.size(), dx.size());
  check_sum(name, "dthreshold", extents, dthreshold.size());
  QSLIM_REQUIRE(threshold.size() == extents.channels, name, ": threshold must have ", extents.channels,
                extents.channels == 1 ? " element" : " elements (one per channel)", ", got ",
                threshold.size());
  for (const float t : threshold) {
    QSLIM_REQUIRE(t >= 0 && std::isfinite(t), name, ": threshold must be finite and >= 0, got ", t);
  }
  const LearnedQuantKernels& kernels = best_kernel(kLearnedQuantKernels, context.isa());
  using Acc = std::array<double*, 1>;
  sum_channels<1>(
      context.pool(), normalized(extents), {dthreshold},
      [&](std::size_t rows, std::size_t inner, std::size_t offset, std::size_t channel, const Acc& acc) {
        kernels.pact_rows(rows, inner, x.data() + offset, g.data() + offset, threshold.data() + channel,
                          is_unsigned, dx.data() + offset, acc[0]);
      },
      [&](std::size_t n, std::size_t offset, std::size_t channel, const Acc& acc) {
        kernels.pact_elements(n, x.data() + offset, g.data() + offset, threshold.data() + channel,
                              is_unsigned, dx.data() + offset, acc[0]);
      });
}

void lsq_backward(Context& context, Span<const float> x, Span<const float> g, const ChannelExtents& extents,
                  const AffineParams& params, Span<float> dx, Span<double> dscale, Span<double> doffset) {
  const char* name = "lsq_backward";
  check_sizes(name, extents, x.size(), g.size(), dx.size());
  check_sum(name, "dscale", extents, dscale.size());
  check_sum(name, "doffset", extents, doffset.size());
  const ChannelTables tables(name, extents, params);
  const LearnedQuantKernels& kernels = best_kernel(kLearnedQuantKernels, context.isa());
  using Acc = std::array<double*, 2>;
  sum_channels<2>(
      context.pool(), normalized(extents), {dscale, doffset},
      [&](std::size_t rows, std::size_t inner, std::size_t offset, std::size_t channel, const Acc& acc) {
        kernels.lsq_rows(rows, inner, x.data() + offset, g.data() + offset, tables.at(channel),
                         dx.data() + offset, acc[0], acc[1]);
      },
      [&](std::size_t n, std::size_t offset, std::size_t channel, const Acc& acc) {
        kernels.lsq_elements(n, x.data() + offset, g.data() + offset, tables.at(channel), dx.data() + offset,
                             acc[0], acc[1]);
      });
}

}  // namespace qslim
