// SPDX-License-Identifier: Apache-2.0
//
// Checks, packing and dispatch of ConvF32.
#include "qslim/kernels/conv/conv_f32.h"

#include <variant>

#include "qslim/core/dispatch.h"
#include "qslim/kernels/conv/check.h"
#include "qslim/kernels/conv/depthwise_conv.h"
#include "qslim/kernels/conv/gemm_conv.h"
#include "qslim/kernels/depthwise_f32/table.h"
#include "qslim/kernels/gemm_f32/table.h"

namespace qslim {
namespace {

// A convolution packed for the kernel that computes its blocks.
template <class Conv, class Kernel, class Block>
struct Strategy {
  using BlockType = Block;
  const Kernel* kernel;
  Conv conv;
};
using Gemm = Strategy<GemmConv, GemmF32Kernel, GemmBlock>;
using Depthwise = Strategy<DepthwiseConv, DepthwiseF32Kernel, DepthwiseSpan>;
using AnyStrategy = std::variant<Gemm, Depthwise>;

Depthwise pack_depthwise(const DepthwiseF32Kernel& kernel, const ConvGeometry& geometry,
                         Span<const float> weights, Span<const float> bias) {
  Depthwise packed{&kernel, {geometry, kernel.layout, sizeof(float)}};
  const std::size_t taps = geometry.kernel_h * geometry.kernel_w;
  packed.conv.pack_weights<float>([&](std::size_t c, std::size_t tap) { return weights[c * taps + tap]; });
  packed.conv.pack_bias(bias);
  return packed;
}

Gemm pack_gemm(const GemmF32Kernel& kernel, const ConvGeometry& geometry, Span<const float> weights,
               Span<const float> bias) {
  Gemm packed{&kernel, {geometry, kernel.layout, sizeof(float), 0, kernel.gather}};
  const std::size_t taps = geometry.kernel_h * geometry.kernel_w;
  const std::size_t channels = geometry.input_channels / geometry.groups;
  packed.conv.pack_weights<float>([&](std::size_t oc, float* row) {
    const float* w = weights.data() + oc * channels * taps;
    for (std::size_t ic = 0; ic < channels; ++ic) {
      for (std::size_t tap = 0; tap < taps; ++tap) row[tap * channels + ic] = *w++;
    }
  });
  packed.conv.pack_bias(bias);
  return packed;
}

AnyStrategy pack(Isa isa, const ConvGeometry& geometry, Span<const float> weights, Span<const float> bias) {
  if (is_depthwise(geometry)) {
    return pack_depthwise(best_kernel(kDepthwiseF32Kernels, isa), geometry, weights, bias);
  }
  return pack_gemm(best_kernel(kGemmF32Kernels, isa), geometry, weights, bias);
}

// Run a convolution whose blocks the kernel clamps.
template <class Packed>
void run_clamped(Context& context, const ConvExtents& extents, const float* x, const FloatOutput& output,
                 const Packed& packed, std::byte* scratch) {
  using Block = typename Packed::BlockType;
  struct Call {
    decltype(packed.kernel->multiply) multiply;
    Clamp clamp;
  };
  const Call call{packed.kernel->multiply, {output.lo, output.hi}};
  KernelRun<Block> run;
  run.x = x, run.y = reinterpret_cast<unsigned char*>(output.y), run.y_element_bytes = sizeof(float);
  run.sink = output.sink;
  run.self = &call;
  run.multiply = [](const void* self, const Block& block) {
    const Call& c = *static_cast<const Call*>(self);
    c.multiply(block, c.clamp);
  };
  packed.conv.run(context.pool(), extents, run, scratch);
}

}  // namespace

struct ConvF32::Packed {
  ConvGeometry geometry;
  AnyStrategy strategy;
};

ConvF32::ConvF32(Isa isa, const ConvGeometry& geometry, Span<const float> weights, Span<const float> bias) {
  check_geometry("ConvF32", geometry, weights.size(), bias.size());
  packed_ = std::make_unique<const Packed>(Packed{geometry, pack(isa, geometry, weights, bias)});
}

ConvF32::~ConvF32() = default;
ConvF32::ConvF32(ConvF32&&) noexcept = default;
ConvF32& ConvF32::operator=(ConvF32&&) noexcept = default;

std::size_t ConvF32::scratch_bytes(const ConvExtents& extents, std::size_t num_threads) const {
  return std::visit([&](const auto& s) { return s.conv.scratch_bytes(extents, num_threads); },
                    packed_->strategy);
}

void ConvF32::run(Context& context, const ConvExtents& extents, const float* x, const FloatOutput& output,
                  std::byte* scratch) const {
  check_extents("ConvF32", packed_->geometry, extents, output.sink.take != nullptr);
  std::visit([&](const auto& s) { run_clamped(context, extents, x, output, s, scratch); }, packed_->strategy);
}

const ConvGeometry& ConvF32::geometry() const noexcept { return packed_->geometry; }

const char* ConvF32::kernel_name() const noexcept {
  return std::visit([](const auto& s) { return s.kernel->name; }, packed_->strategy);
}

std::size_t ConvF32::packed_bytes() const noexcept {
  return std::visit([](const auto& s) { return s.conv.packed_bytes(); }, packed_->strategy);
}

}  // namespace qslim
