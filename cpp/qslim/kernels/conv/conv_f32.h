// SPDX-License-Identifier: Apache-2.0
//
// Float convolution, weights packed once for one instruction set. The same bits on every instruction set and
// for any number of threads: each output is one chain of fused multiply-adds in the order (kh, kw, ic),
// starting at +0, to which bias is added last, and which is then clamped.
//
//   y[n, oh, ow, oc] = min(max(sum + bias[oc], lo), hi)
//
// Interface and guarantees as in conv_u8s8.h.
#pragma once

#include <cstddef>
#include <limits>
#include <memory>

#include "qslim/core/context.h"
#include "qslim/core/conv_geometry.h"
#include "qslim/core/span.h"
#include "qslim/kernels/conv/pixel_sink.h"

namespace qslim {

// To y, or to the sink if it has a function.
struct FloatOutput {
  float lo = -std::numeric_limits<float>::infinity();
  float hi = std::numeric_limits<float>::infinity();
  float* y = nullptr;
  PixelSink sink;
};

class ConvF32 {
 public:
  // weights [OC, IC / groups, KH, KW]; bias [OC] or empty.
  ConvF32(Isa isa, const ConvGeometry& geometry, Span<const float> weights, Span<const float> bias);
  ~ConvF32();
  ConvF32(ConvF32&&) noexcept;
  ConvF32& operator=(ConvF32&&) noexcept;

  std::size_t scratch_bytes(const ConvExtents& extents, std::size_t num_threads) const;
  // x may be read up to 64 bytes past its end; y is written exactly. Allocates nothing.
  void run(Context& context, const ConvExtents& extents, const float* x, const FloatOutput& output,
           std::byte* scratch) const;

  const ConvGeometry& geometry() const noexcept;
  const char* kernel_name() const noexcept;
  std::size_t packed_bytes() const noexcept;

 private:
  struct Packed;
  std::unique_ptr<const Packed> packed_;
};

}  // namespace qslim
