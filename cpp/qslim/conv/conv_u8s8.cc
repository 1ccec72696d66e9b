// SPDX-License-Identifier: Apache-2.0
//
// Checks, packing and dispatch of ConvU8S8.
#include "qslim/conv/conv_u8s8.h"

#include <cstdlib>
#include <iterator>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "qslim/conv/check.h"
#include "qslim/conv/depthwise_conv.h"
#include "qslim/conv/gemm_conv.h"
#include "qslim/kernels/depthwise_u8s8/kernels.h"
#include "qslim/kernels/gemm_u8s8/kernels.h"

namespace qslim {
namespace {

struct GemmKernel {
  Isa isa;
  const char* name;
  GemmLayout layout;
  GatherFn gather;
  GemmRequantizeFn requantize;
  GemmRealFn real;
};

constexpr GemmKernel kGemmKernels[] = {
#define QSLIM_GEMM_U8S8_KERNELS(isa, suffix, lanes, max_vectors, depth, packed_order) \
  {isa,                                                                               \
   "gemm_u8s8_" #suffix,                                                              \
   {lanes, max_vectors, depth, packed_order},                                         \
   gather_u8_##suffix,                                                                \
   gemm_u8s8_requantize_##suffix,                                                     \
   gemm_u8s8_real_##suffix},
#include "qslim/kernels/gemm_u8s8/kernels.inc"
#undef QSLIM_GEMM_U8S8_KERNELS
};

struct DepthwiseKernel {
  Isa isa;
  const char* name;
  DepthwiseLayout layout;
  DepthwiseRequantizeFn requantize;
  DepthwiseRealFn real;
};

constexpr DepthwiseKernel kDepthwiseKernels[] = {
#define QSLIM_DEPTHWISE_U8S8_KERNELS(isa, suffix, lanes, vectors, depth, packed_order) \
  {isa,                                                                                \
   "depthwise_u8s8_" #suffix,                                                          \
   {lanes, vectors, depth, packed_order},                                              \
   depthwise_u8s8_requantize_##suffix,                                                 \
   depthwise_u8s8_real_##suffix},
#include "qslim/kernels/depthwise_u8s8/kernels.inc"
#undef QSLIM_DEPTHWISE_U8S8_KERNELS
};

// So many columns at least: fewer leave most lanes of the narrowest kernel empty.
constexpr std::size_t kFewestColumns = 16;

// Several small groups as one, with zeros where a weight joins two of them.
ConvGeometry merge_groups(ConvGeometry geometry) {
  while (geometry.groups % 2 == 0 && geometry.output_channels / geometry.groups * 2 <= kFewestColumns) {
    geometry.groups /= 2;
  }
  return geometry;
}

// What a run's tasks need to call a kernel.
template <class Fn>
struct Requantize {
  Fn kernel;
  Requantization p;
};

Requantization requantization(const RequantizedOutput& output) {
  QSLIM_REQUIRE(output.lo <= output.hi, "ConvU8S8: lo must not exceed hi, got ", int{output.lo}, " and ",
                int{output.hi});
  return {output.zero_point, output.lo, output.hi};
}

}  // namespace

struct ConvU8S8::Packed {
  ConvGeometry geometry;
  const GemmKernel* gemm_kernel = nullptr;
  const DepthwiseKernel* depthwise_kernel = nullptr;
  std::optional<GemmConv> gemm;
  std::optional<DepthwiseConv> depthwise;
};

ConvU8S8::ConvU8S8(Isa isa, const ConvGeometry& geometry, Span<const std::int8_t> weights,
                   std::uint8_t x_zero_point, Span<const float> multiplier, Span<const float> bias) {
  check_geometry("ConvU8S8", geometry, weights.size(), bias.size());
  QSLIM_REQUIRE(multiplier.size() == geometry.output_channels, "ConvU8S8: multiplier must have ",
                geometry.output_channels, " elements, got ", multiplier.size());
  const std::size_t taps = geometry.kernel_h * geometry.kernel_w;
  const std::size_t channels = geometry.input_channels / geometry.groups, k = channels * taps;
  std::vector<std::int32_t> start(geometry.output_channels);  // of sums of raw bytes; wraps as they do
  for (std::size_t oc = 0; oc < geometry.output_channels; ++oc) {
    std::int64_t sum = 0, magnitude = 0;
    for (std::size_t i = 0; i < k; ++i) {
      const std::int64_t weight = weights[oc * k + i];
      sum += weight;
      magnitude += 255 * std::abs(weight);
    }
    QSLIM_REQUIRE(magnitude <= std::numeric_limits<std::int32_t>::max(), "ConvU8S8: output channel ", oc,
                  " can exceed int32: 255 * sum |weight| is ", magnitude);
    start[oc] = static_cast<std::int32_t>(static_cast<std::uint32_t>(-x_zero_point * sum));
  }

  auto packed = std::make_unique<Packed>();
  packed->geometry = geometry;
  if (is_depthwise(geometry)) {
    const DepthwiseKernel& kernel = best_kernel(kDepthwiseKernels, isa);
    packed->depthwise_kernel = &kernel;
    packed->depthwise.emplace(geometry, kernel.layout, sizeof(std::uint8_t));
    const auto weight_at = [&](std::size_t c, std::size_t tap) { return weights[c * taps + tap]; };
    if (kernel.layout.depth == 4) {
      packed->depthwise->pack_weights<std::int8_t>(weight_at);
    } else {
      packed->depthwise->pack_weights<std::int16_t>(weight_at);
    }
    packed->depthwise->pack_start(start);
    packed->depthwise->pack_multiplier(multiplier);
    packed->depthwise->pack_bias(bias);
    packed->depthwise->set_outside(x_zero_point);
  } else {
    const GemmKernel& kernel = best_kernel(kGemmKernels, isa);
    packed->gemm_kernel = &kernel;
    const ConvGeometry merged = merge_groups(geometry);
    packed->gemm.emplace(merged, kernel.layout, sizeof(std::uint8_t), x_zero_point, kernel.gather);
    const std::size_t columns = geometry.output_channels / geometry.groups;
    const std::size_t merged_columns = merged.output_channels / merged.groups;
    const std::size_t merged_channels = merged.input_channels / merged.groups;
    // Of merged groups a channel has weights only for the columns of its own.
    const auto fill_columns = [&](std::size_t oc, auto* row) {
      const std::size_t first = oc / columns * channels - oc / merged_columns * merged_channels;
      const std::int8_t* w = weights.data() + oc * channels * taps;
      for (std::size_t ic = 0; ic < channels; ++ic) {
        for (std::size_t tap = 0; tap < taps; ++tap) row[tap * merged_channels + first + ic] = *w++;
      }
    };
    if (kernel.layout.depth == 4) {
      packed->gemm->pack_weights<std::int8_t>(fill_columns);
      packed->gemm->pack_start(start);
    } else {
      packed->gemm->pack_weights<std::int16_t>(fill_columns);
      packed->gemm->pack_start({});  // the gathered rows are less x_zero_point already
    }
    packed->gemm->pack_multiplier(multiplier);
    packed->gemm->pack_bias(bias);
  }
  packed_ = std::move(packed);
}

ConvU8S8::~ConvU8S8() = default;
ConvU8S8::ConvU8S8(ConvU8S8&&) noexcept = default;
ConvU8S8& ConvU8S8::operator=(ConvU8S8&&) noexcept = default;

std::size_t ConvU8S8::scratch_bytes(const ConvExtents& extents, std::size_t num_threads) const {
  return packed_->gemm ? packed_->gemm->scratch_bytes(extents, num_threads)
                       : packed_->depthwise->scratch_bytes(extents, num_threads);
}

void ConvU8S8::run(Context& context, const ConvExtents& extents, const std::uint8_t* x,
                   const RequantizedOutput& output, std::byte* scratch) const {
  check_extents("ConvU8S8", packed_->geometry, extents);
  const Requantization p = requantization(output);
  if (packed_->gemm) {
    using Call = Requantize<GemmRequantizeFn>;
    const Call call{packed_->gemm_kernel->requantize, p};
    GemmRun run;
    run.x = x, run.y = output.y, run.y_element_bytes = 1;
    run.self = &call;
    run.multiply = [](const void* self, const GemmBlock& block) {
      const Call& c = *static_cast<const Call*>(self);
      c.kernel(block, c.p);
    };
    packed_->gemm->run(context.pool(), extents, run, scratch);
  } else {
    using Call = Requantize<DepthwiseRequantizeFn>;
    const Call call{packed_->depthwise_kernel->requantize, p};
    DepthwiseRun run;
    run.x = x, run.y = output.y, run.y_element_bytes = 1;
    run.self = &call;
    run.multiply = [](const void* self, const DepthwiseSpan& span) {
      const Call& c = *static_cast<const Call*>(self);
      c.kernel(span, c.p);
    };
    packed_->depthwise->run(context.pool(), extents, run, scratch);
  }
}

void ConvU8S8::run(Context& context, const ConvExtents& extents, const std::uint8_t* x,
                   const RealOutput& output, std::byte* scratch) const {
  check_extents("ConvU8S8", packed_->geometry, extents, output.sink.take != nullptr);
  auto* y = reinterpret_cast<unsigned char*>(output.y);
  if (packed_->gemm) {
    GemmRun run;
    run.x = x, run.y = y, run.y_element_bytes = 4, run.sink = output.sink;
    run.self = packed_->gemm_kernel;
    run.multiply = [](const void* self, const GemmBlock& block) {
      static_cast<const GemmKernel*>(self)->real(block);
    };
    packed_->gemm->run(context.pool(), extents, run, scratch);
  } else {
    DepthwiseRun run;
    run.x = x, run.y = y, run.y_element_bytes = 4, run.sink = output.sink;
    run.self = packed_->depthwise_kernel;
    run.multiply = [](const void* self, const DepthwiseSpan& span) {
      static_cast<const DepthwiseKernel*>(self)->real(span);
    };
    packed_->depthwise->run(context.pool(), extents, run, scratch);
  }
}

const ConvGeometry& ConvU8S8::geometry() const noexcept { return packed_->geometry; }

const char* ConvU8S8::kernel_name() const noexcept {
  return packed_->gemm ? packed_->gemm_kernel->name : packed_->depthwise_kernel->name;
}

std::size_t ConvU8S8::packed_bytes() const noexcept {
  return packed_->gemm ? packed_->gemm->packed_bytes() : packed_->depthwise->packed_bytes();
}

}  // namespace qslim
