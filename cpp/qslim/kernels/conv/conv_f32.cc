// SPDX-License-Identifier: Apache-2.0
//
// Checks, packing and dispatch of ConvF32.
#include "qslim/kernels/conv/conv_f32.h"

#include <optional>

#include "qslim/core/dispatch.h"
#include "qslim/kernels/conv/check.h"
#include "qslim/kernels/conv/depthwise_conv.h"
#include "qslim/kernels/conv/gemm_conv.h"
#include "qslim/kernels/depthwise_f32/table.h"
#include "qslim/kernels/gemm_f32/table.h"

namespace qslim {
namespace {

// What a run's tasks need to call a kernel.
template <class Fn>
struct Call {
  Fn kernel;
  Clamp clamp;
};

}  // namespace

struct ConvF32::Packed {
  ConvGeometry geometry;
  const GemmF32Kernel* gemm_kernel = nullptr;
  const DepthwiseF32Kernel* depthwise_kernel = nullptr;
  std::optional<GemmConv> gemm;
  std::optional<DepthwiseConv> depthwise;
};

ConvF32::ConvF32(Isa isa, const ConvGeometry& geometry, Span<const float> weights, Span<const float> bias) {
  check_geometry("ConvF32", geometry, weights.size(), bias.size());
  const std::size_t taps = geometry.kernel_h * geometry.kernel_w;
  const std::size_t channels = geometry.input_channels / geometry.groups;
  auto packed = std::make_unique<Packed>();
  packed->geometry = geometry;
  if (is_depthwise(geometry)) {
    const DepthwiseF32Kernel& kernel = best_kernel(kDepthwiseF32Kernels, isa);
    packed->depthwise_kernel = &kernel;
    packed->depthwise.emplace(geometry, kernel.layout, sizeof(float));
    packed->depthwise->pack_weights<float>(
        [&](std::size_t c, std::size_t tap) { return weights[c * taps + tap]; });
    packed->depthwise->pack_bias(bias);
  } else {
    const GemmF32Kernel& kernel = best_kernel(kGemmF32Kernels, isa);
    packed->gemm_kernel = &kernel;
    packed->gemm.emplace(geometry, kernel.layout, sizeof(float), 0, kernel.gather);
    packed->gemm->pack_weights<float>([&](std::size_t oc, float* row) {
      const float* w = weights.data() + oc * channels * taps;
      for (std::size_t ic = 0; ic < channels; ++ic) {
        for (std::size_t tap = 0; tap < taps; ++tap) row[tap * channels + ic] = *w++;
      }
    });
    packed->gemm->pack_bias(bias);
  }
  packed_ = std::move(packed);
}

ConvF32::~ConvF32() = default;
ConvF32::ConvF32(ConvF32&&) noexcept = default;
ConvF32& ConvF32::operator=(ConvF32&&) noexcept = default;

std::size_t ConvF32::scratch_bytes(const ConvExtents& extents, std::size_t num_threads) const {
  return packed_->gemm ? packed_->gemm->scratch_bytes(extents, num_threads)
                       : packed_->depthwise->scratch_bytes(extents, num_threads);
}

void ConvF32::run(Context& context, const ConvExtents& extents, const float* x, const FloatOutput& output,
                  std::byte* scratch) const {
  check_extents("ConvF32", packed_->geometry, extents, output.sink.take != nullptr);
  auto* y = reinterpret_cast<unsigned char*>(output.y);
  if (packed_->gemm) {
    using Multiply = Call<GemmF32Fn>;
    const Multiply call{packed_->gemm_kernel->multiply, {output.lo, output.hi}};
    GemmRun run;
    run.x = x, run.y = y, run.y_element_bytes = sizeof(float), run.sink = output.sink;
    run.self = &call;
    run.multiply = [](const void* self, const GemmBlock& block) {
      const Multiply& c = *static_cast<const Multiply*>(self);
      c.kernel(block, c.clamp);
    };
    packed_->gemm->run(context.pool(), extents, run, scratch);
  } else {
    using Multiply = Call<DepthwiseF32Fn>;
    const Multiply call{packed_->depthwise_kernel->multiply, {output.lo, output.hi}};
    DepthwiseRun run;
    run.x = x, run.y = y, run.y_element_bytes = sizeof(float), run.sink = output.sink;
    run.self = &call;
    run.multiply = [](const void* self, const DepthwiseSpan& span) {
      const Multiply& c = *static_cast<const Multiply*>(self);
      c.kernel(span, c.clamp);
    };
    packed_->depthwise->run(context.pool(), extents, run, scratch);
  }
}

const ConvGeometry& ConvF32::geometry() const noexcept { return packed_->geometry; }

const char* ConvF32::kernel_name() const noexcept {
  return packed_->gemm ? packed_->gemm_kernel->name : packed_->depthwise_kernel->name;
}

std::size_t ConvF32::packed_bytes() const noexcept {
  return packed_->gemm ? packed_->gemm->packed_bytes() : packed_->depthwise->packed_bytes();
}

}  // namespace qslim
