// SPDX-License-Identifier: Apache-2.0
//
// Int8 convolution, weights packed once for one instruction set. Immutable after construction: any number of
// threads may run it at once.
//
//   acc[n, oh, ow, oc] = sum (x - x_zero_point) * w                       exact in int32
//   r                  = float(acc) * multiplier[oc] + bias[oc]           two fp32 operations, each rounded
//   Real         y = r
//   Requantized  y = clamp(round_half_even(r * inverse_scale) + zero_point, lo, hi)
//
// With multiplier sx * sw[oc] r is the real value, and inverse_scale is 1 / sy: what quantizing r would give.
// x holds stored values: unsigned bytes; signed ones are shifted by 128. Pixels outside x count as
// x_zero_point. Every kernel equals reference/conv.h bit for bit. |acc| < 2^31: the
// constructor throws where the weights alone (255 * sum |w|) allow more.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "qslim/core/context.h"
#include "qslim/core/conv_geometry.h"
#include "qslim/core/span.h"
#include "qslim/kernels/conv/pixel_sink.h"

namespace qslim {

struct RequantizedOutput {
  float inverse_scale = 1;                        // finite
  std::uint8_t zero_point = 0, lo = 0, hi = 255;  // stored values
  std::uint8_t* y = nullptr;
  // Null, or what is added before the rounding: s = r + (residual - residual_zero_point) * residual_scale,
  // each operation rounded, in the places of y. Only where adds_residuals().
  const std::uint8_t* residual = nullptr;
  float residual_scale = 0;  // finite
  std::uint8_t residual_zero_point = 0;
  // HardSwish(r) in the place of r. Only where applies_hard_swish(), and without a residual.
  bool has_hard_swish = false;
};

// To y, or to the sink if it has a function.
struct RealOutput {
  float* y = nullptr;
  PixelSink sink;
};

class ConvU8S8 {
 public:
  // weights [OC, IC / groups, KH, KW]; multiplier [OC], finite; bias [OC], finite, or empty for zeros.
  ConvU8S8(Isa isa, const ConvGeometry& geometry, Span<const std::int8_t> weights, std::uint8_t x_zero_point,
           Span<const float> multiplier, Span<const float> bias);
  ~ConvU8S8();
  ConvU8S8(ConvU8S8&&) noexcept;
  ConvU8S8& operator=(ConvU8S8&&) noexcept;

  // Bytes that run() needs, aligned to 64, for a pool of num_threads.
  std::size_t scratch_bytes(const ConvExtents& extents, std::size_t num_threads) const;

  // x may be read up to 64 bytes past its end; y is written exactly. Allocates nothing.
  void run(Context& context, const ConvExtents& extents, const std::uint8_t* x,
           const RequantizedOutput& output, std::byte* scratch) const;
  void run(Context& context, const ConvExtents& extents, const std::uint8_t* x, const RealOutput& output,
           std::byte* scratch) const;

  // Return true if run() takes residuals for results of this scale and residuals of that one.
  bool adds_residuals(float inverse_scale, float residual_scale) const noexcept;

  // Return true if run() applies HardSwish for results of this scale.
  bool applies_hard_swish(float inverse_scale) const noexcept;

  const ConvGeometry& geometry() const noexcept;
  const char* kernel_name() const noexcept;  // "gemm_u8s8_avx2", "depthwise_u8s8_avx2", ...
  std::size_t packed_bytes() const noexcept;

 private:
  struct Packed;
  std::unique_ptr<const Packed> packed_;
};

}  // namespace qslim
