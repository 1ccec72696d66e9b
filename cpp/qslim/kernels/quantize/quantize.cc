// SPDX-License-Identifier: Apache-2.0
//
// Checks, dispatch and blocking of quantize and dequantize.
#include "qslim/kernels/quantize/quantize.h"

#include <limits>
#include <type_traits>

#include "qslim/core/dispatch.h"
#include "qslim/core/dtype.h"
#include "qslim/kernels/quantize/table.h"

namespace qslim {
namespace {

DequantizeRowsFn<std::int8_t> rows_kernel(const QuantizeKernels& k, std::int8_t) {
  return k.dequantize_s8_rows;
}
DequantizeRowsFn<std::uint8_t> rows_kernel(const QuantizeKernels& k, std::uint8_t) {
  return k.dequantize_u8_rows;
}
DequantizeElementsFn<std::int8_t> elements_kernel(const QuantizeKernels& k, std::int8_t) {
  return k.dequantize_s8_elements;
}
DequantizeElementsFn<std::uint8_t> elements_kernel(const QuantizeKernels& k, std::uint8_t) {
  return k.dequantize_u8_elements;
}

template <class Q>
void check_range(const char* function, const AffineParams& params) {
  constexpr int kLeast = std::numeric_limits<Q>::min(), kLargest = std::numeric_limits<Q>::max();
  QSLIM_REQUIRE(params.qmin >= kLeast && params.qmax <= kLargest, function, ": ", name_of(DTypeOf<Q>::value),
                " holds [", kLeast, ", ", kLargest, "], got qmin ", params.qmin, " and qmax ", params.qmax);
}

}  // namespace

template <class Q>
void quantize(Context& context, Span<const float> x, const ChannelExtents& extents,
              const AffineParams& params, Span<Q> q) {
  QSLIM_REQUIRE(x.size() == extents.size(), "quantize: x has ", x.size(), " elements but its shape ",
                extents.size());
  QSLIM_REQUIRE(x.size() == q.size(), "quantize: x has ", x.size(), " elements but out has ", q.size());
  check_range<Q>("quantize", params);
  const ChannelTables tables("quantize", extents, params);
  const QuantizeKernels& kernels = best_kernel(kQuantizeKernels, context.isa());
  auto* bytes = reinterpret_cast<std::uint8_t*>(q.data());
  for_each_piece(
      context.pool(), extents, tables,
      [&](const ChannelPiece& p) {
        kernels.quantize_rows(p.rows, p.inner, x.data() + p.offset, tables.at(p.channel), params.rounding,
                              bytes + p.offset);
      },
      [&](const ChannelPiece& p) {
        kernels.quantize_elements(p.rows, x.data() + p.offset, tables.at(p.channel), params.rounding,
                                  bytes + p.offset);
      });
}

template <class Q>
void dequantize(Context& context, Span<const Q> q, const ChannelExtents& extents, const AffineParams& params,
                Span<float> y) {
  QSLIM_REQUIRE(q.size() == extents.size(), "dequantize: q has ", q.size(), " elements but its shape ",
                extents.size());
  QSLIM_REQUIRE(q.size() == y.size(), "dequantize: q has ", q.size(), " elements but out has ", y.size());
  const ChannelTables tables("dequantize", extents, params);
  const QuantizeKernels& kernels = best_kernel(kQuantizeKernels, context.isa());
  const auto rows = rows_kernel(kernels, Q{});
  const auto elements = elements_kernel(kernels, Q{});
  for_each_piece(
      context.pool(), extents, tables,
      [&](const ChannelPiece& p) {
        rows(p.rows, p.inner, q.data() + p.offset, tables.at(p.channel), y.data() + p.offset);
      },
      [&](const ChannelPiece& p) {
        elements(p.rows, q.data() + p.offset, tables.at(p.channel), y.data() + p.offset);
      });
}

template void quantize(Context&, Span<const float>, const ChannelExtents&, const AffineParams&,
                       Span<std::int8_t>);
template void quantize(Context&, Span<const float>, const ChannelExtents&, const AffineParams&,
                       Span<std::uint8_t>);
template void dequantize(Context&, Span<const std::int8_t>, const ChannelExtents&, const AffineParams&,
                         Span<float>);
template void dequantize(Context&, Span<const std::uint8_t>, const ChannelExtents&, const AffineParams&,
                         Span<float>);

}  // namespace qslim
