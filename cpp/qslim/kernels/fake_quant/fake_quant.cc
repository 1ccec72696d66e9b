// SPDX-License-Identifier: Apache-2.0
//
// Checks, dispatch and blocking of fake quantization.
#include "qslim/kernels/fake_quant/fake_quant.h"

#include <cstring>

#include "qslim/core/dispatch.h"
#include "qslim/kernels/fake_quant/table.h"

namespace qslim {
namespace {

// From this size on (16 MiB), storing past the caches beats filling them. Below it does so too, by a third at
// 9 MB on Zen 3, but then the next reader of the result would have found it in the last-level cache. Rows
// must be long enough for their ends, stored the ordinary way, not to matter.
constexpr std::size_t kStreamElements = std::size_t{4} << 20;
constexpr std::size_t kStreamRow = 1024;

}  // namespace

void fake_quant(Context& context, Span<const float> x, const ChannelExtents& extents,
                const AffineParams& params, Span<float> y) {
  QSLIM_REQUIRE(x.size() == extents.size(), "fake_quant: x has ", x.size(), " elements but its shape ",
                extents.size());
  QSLIM_REQUIRE(x.size() == y.size(), "fake_quant: x has ", x.size(), " elements but out has ", y.size());
  const ChannelTables tables("fake_quant", extents, params);
  const FakeQuantKernels& kernels = best_kernel(kFakeQuantKernels, context.isa());
  const bool large = x.size() >= kStreamElements && x.data() != y.data();
  for_each_piece(
      context.pool(), extents, tables,
      [&](const ChannelPiece& p) {
        kernels.rows(p.rows, p.inner, x.data() + p.offset, tables.at(p.channel), params.rounding,
                     large && p.inner >= kStreamRow, y.data() + p.offset);
      },
      [&](const ChannelPiece& p) {
        kernels.elements(p.rows, x.data() + p.offset, tables.at(p.channel), params.rounding,
                         y.data() + p.offset);
      });
}

void fake_quant_backward(Context& context, Span<const float> x, Span<const float> g,
                         const ChannelExtents& extents, const AffineParams& params, Gradient gradient,
                         Span<float> dx) {
  QSLIM_REQUIRE(x.size() == extents.size(), "fake_quant_backward: x has ", x.size(),
                " elements but its shape ", extents.size());
  QSLIM_REQUIRE(x.size() == g.size(), "fake_quant_backward: x has ", x.size(), " elements but grad has ",
                g.size());
  QSLIM_REQUIRE(x.size() == dx.size(), "fake_quant_backward: x has ", x.size(), " elements but out has ",
                dx.size());
  const ChannelTables tables("fake_quant_backward", extents, params);
  if (gradient == Gradient::kStraightThrough) {
    if (dx.data() == g.data()) return;
    context.pool().for_each_block(g.size(), kElementsPerTask, [&](Block b) {
      std::memcpy(dx.data() + b.begin, g.data() + b.begin, b.size * sizeof(float));
    });
    return;
  }
  const FakeQuantKernels& kernels = best_kernel(kFakeQuantKernels, context.isa());
  for_each_piece(
      context.pool(), extents, tables,
      [&](const ChannelPiece& p) {
        kernels.backward_rows(p.rows, p.inner, x.data() + p.offset, g.data() + p.offset, tables.at(p.channel),
                              params.rounding, dx.data() + p.offset);
      },
      [&](const ChannelPiece& p) {
        kernels.backward_elements(p.rows, x.data() + p.offset, g.data() + p.offset, tables.at(p.channel),
                                  params.rounding, dx.data() + p.offset);
      });
}

}  // namespace qslim
