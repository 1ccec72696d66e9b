// SPDX-License-Identifier: Apache-2.0
//
// Checks, packing and dispatch of ConvU8S8.
#include "qslim/kernels/conv/conv_u8s8.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <iterator>
#include <limits>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "qslim/core/dispatch.h"
#include "qslim/kernels/conv/check.h"
#include "qslim/kernels/conv/depthwise_conv.h"
#include "qslim/kernels/conv/depthwise_rows_conv.h"
#include "qslim/kernels/conv/gemm_conv.h"
#include "qslim/kernels/conv/winograd_conv.h"
#include "qslim/kernels/depthwise_rows_u8s8/table.h"
#include "qslim/kernels/depthwise_u8s8/table.h"
#include "qslim/kernels/gemm_u8s8/table.h"
#include "qslim/kernels/winograd_u8s8/table.h"

namespace qslim {
namespace {

// Return the kernel that goes with the best one for products, or null.
const WinogradU8S8Kernel* winograd_kernel(Isa gemm) {
  for (const WinogradU8S8Kernel& kernel : kWinogradU8S8Kernels) {
    if (kernel.isa == gemm && kernel.transform != nullptr) return &kernel;
  }
  return nullptr;
}

// Return the kernel for whole rows that goes with the best one for depthwise convolution, or null.
const DepthwiseRowsU8S8Kernel* depthwise_rows_kernel(Isa depthwise) {
  for (const DepthwiseRowsU8S8Kernel& kernel : kDepthwiseRowsU8S8Kernels) {
    if (kernel.isa == depthwise && kernel.requantize != nullptr) return &kernel;
  }
  return nullptr;
}

// A group has at least so many columns: fewer leave most lanes of the narrowest kernel empty.
constexpr std::size_t kFewestColumns = 16;

// Make one group of several small ones, with zeros where a weight joins two of them.
ConvGeometry merge_groups(ConvGeometry geometry) {
  while (geometry.groups % 2 == 0 && geometry.output_channels / geometry.groups * 2 <= kFewestColumns) {
    geometry.groups /= 2;
  }
  return geometry;
}

// Run a convolution with the kernel that requantizes its blocks.
template <class Block, class Conv>
void run_requantized(Context& context, const ConvExtents& extents, const std::uint8_t* x,
                     const RequantizedOutput& output, const Conv& conv,
                     void (*kernel)(const Block&, const Requantization&) noexcept, const Requantization& p,
                     std::byte* scratch) {
  struct Call {
    decltype(kernel) requantize;
    Requantization p;
  };
  const Call call{kernel, p};
  KernelRun<Block> run;
  run.x = x, run.y = output.y, run.y_element_bytes = 1, run.residual = output.residual;
  run.self = &call;
  run.multiply = [](const void* self, const Block& block) {
    const Call& c = *static_cast<const Call*>(self);
    c.requantize(block, c.p);
  };
  conv.run(context.pool(), extents, run, scratch);
}

template <class Block, class Conv>
void run_real(Context& context, const ConvExtents& extents, const std::uint8_t* x, const RealOutput& output,
              const Conv& conv, void (*kernel)(const Block&) noexcept, std::byte* scratch) {
  using Kernel = decltype(kernel);
  KernelRun<Block> run;
  run.x = x, run.y = reinterpret_cast<unsigned char*>(output.y), run.y_element_bytes = 4;
  run.sink = output.sink;
  run.self = &kernel;
  run.multiply = [](const void* self, const Block& block) { (*static_cast<const Kernel*>(self))(block); };
  conv.run(context.pool(), extents, run, scratch);
}

Requantization requantization(const RequantizedOutput& output) {
  QSLIM_REQUIRE(output.lo <= output.hi, "ConvU8S8: lo must not exceed hi, got ", int{output.lo}, " and ",
                int{output.hi});
  return {output.inverse_scale,  output.zero_point,         output.lo, output.hi,
          output.residual_scale, output.residual_zero_point};
}

// Quantizes real values one by one, where they may be too large for the kernels.
struct LargeSteps {
  const ConvExtents& extents;
  std::size_t channels;
  Requantization p;
  std::uint8_t* y;
};

void take_large_steps(const void* self, std::size_t first, std::size_t pixels, const float* rows) {
  const auto& [e, channels, p, all] = *static_cast<const LargeSteps*>(self);
  const auto lo = static_cast<float>(p.lo - p.zero_point), hi = static_cast<float>(p.hi - p.zero_point);
  for (std::size_t pixel = first; pixel < first + pixels; ++pixel, rows += channels) {
    const std::size_t row = pixel / e.out_w, n = row / e.out_h;
    std::uint8_t* y =
        all + n * e.y_image_stride + row % e.out_h * e.y_row_stride + pixel % e.out_w * e.y_pixel_stride;
    for (std::size_t c = 0; c < channels; ++c) {
      const float steps = std::nearbyint(std::min(std::max(rows[c] * p.inverse_scale, lo), hi));
      y[c] = static_cast<std::uint8_t>(static_cast<std::int32_t>(steps) + p.zero_point);
    }
  }
}

// Return true if real values of magnitudes up to `largest` stay finite, and their steps in the kernels'
// range.
bool fits_kernels(double largest, float inverse_scale) {
  return largest < std::numeric_limits<float>::max() &&
         largest * std::abs(double{inverse_scale}) < kLargestStep;
}

// A convolution packed for the kernel that computes its blocks.
template <class Conv, class Kernel>
struct Strategy {
  const Kernel* kernel;
  Conv conv;
};
using Gemm = Strategy<GemmConv, GemmU8S8Kernel>;
using Winograd = Strategy<WinogradConv, WinogradU8S8Kernel>;
using Depthwise = Strategy<DepthwiseConv, DepthwiseU8S8Kernel>;
using DepthwiseByRows = Strategy<DepthwiseRowsConv, DepthwiseRowsU8S8Kernel>;
using AnyStrategy = std::variant<Gemm, Winograd, Depthwise, DepthwiseByRows>;

template <class AStrategy>
constexpr bool kMayHaveHardSwish =
    std::is_same_v<AStrategy, Gemm> || std::is_same_v<AStrategy, DepthwiseByRows>;

struct Arguments {
  const ConvGeometry& geometry;
  Span<const std::int8_t> weights;
  std::uint8_t x_zero_point;
  Span<const float> multiplier, bias;
  Span<const std::int32_t> weight_sums;
};

// Return what sums of raw bytes, less `byte_shift`, start from. It wraps as they do.
std::vector<std::int32_t> starts(const Arguments& a, int byte_shift = 0) {
  std::vector<std::int32_t> starts(a.weight_sums.size());
  for (std::size_t oc = 0; oc < starts.size(); ++oc) {
    const std::int64_t share = std::int64_t{byte_shift - a.x_zero_point} * a.weight_sums[oc];
    starts[oc] = static_cast<std::int32_t>(static_cast<std::uint32_t>(share));
  }
  return starts;
}

Winograd pack_winograd(const WinogradU8S8Kernel& kernel, const Arguments& a) {
  return {&kernel,
          {a.geometry, kernel.layout, kernel.transform, a.weights, a.x_zero_point, a.multiplier, a.bias}};
}

Depthwise pack_depthwise(const DepthwiseU8S8Kernel& kernel, const Arguments& a) {
  Depthwise packed{&kernel, {a.geometry, kernel.layout, sizeof(std::uint8_t)}};
  const std::size_t taps = a.geometry.kernel_h * a.geometry.kernel_w;
  const auto weight_at = [&](std::size_t c, std::size_t tap) { return a.weights[c * taps + tap]; };
  if (kernel.layout.depth == 4) {
    packed.conv.pack_weights<std::int8_t>(weight_at);
  } else {
    packed.conv.pack_weights<std::int16_t>(weight_at);
  }
  packed.conv.pack_start(starts(a));
  packed.conv.pack_multiplier(a.multiplier);
  packed.conv.pack_bias(a.bias);
  packed.conv.set_outside(a.x_zero_point);
  return packed;
}

Gemm pack_gemm(const GemmU8S8Kernel& kernel, const Arguments& a) {
  const ConvGeometry& geometry = a.geometry;
  const ConvGeometry merged = merge_groups(geometry);
  Gemm packed{
      &kernel,
      {merged, kernel.layout, sizeof(std::uint8_t), a.x_zero_point, kernel.gather, kernel.gather_columns}};
  const std::size_t taps = geometry.kernel_h * geometry.kernel_w;
  const std::size_t channels = geometry.input_channels / geometry.groups;
  const std::size_t columns = geometry.output_channels / geometry.groups;
  const std::size_t merged_columns = merged.output_channels / merged.groups;
  const std::size_t merged_channels = merged.input_channels / merged.groups;
  // Of merged groups a channel has weights only for the columns of its own.
  const auto fill_columns = [&](std::size_t oc, auto* row) {
    const std::size_t first = oc / columns * channels - oc / merged_columns * merged_channels;
    const std::int8_t* w = a.weights.data() + oc * channels * taps;
    for (std::size_t ic = 0; ic < channels; ++ic) {
      for (std::size_t tap = 0; tap < taps; ++tap) {
        row[packed.conv.tap_place(tap) * merged_channels + first + ic] = *w++;
      }
    }
  };
  if (kernel.layout.depth == 4) {
    packed.conv.pack_weights<std::int8_t>(fill_columns);
    packed.conv.pack_start(starts(a, kernel.layout.byte_shift));
  } else {
    packed.conv.pack_weights<std::int16_t>(fill_columns);
    packed.conv.pack_start({});  // the gathered rows are less x_zero_point already
  }
  packed.conv.pack_multiplier(a.multiplier);
  packed.conv.pack_bias(a.bias);
  return packed;
}

// Pack for the fastest kernel. `largest_sum` bounds |acc|.
AnyStrategy pack(Isa isa, const Arguments& a, std::int64_t largest_sum) {
  const GemmU8S8Kernel& gemm = best_kernel(kGemmU8S8Kernels, isa);
  const WinogradU8S8Kernel* const winograd = winograd_kernel(gemm.isa);
  if (winograd != nullptr && WinogradConv::suits(a.geometry, largest_sum)) return pack_winograd(*winograd, a);
  if (!is_depthwise(a.geometry)) return pack_gemm(gemm, a);
  const DepthwiseU8S8Kernel& depthwise = best_kernel(kDepthwiseU8S8Kernels, isa);
  const DepthwiseRowsU8S8Kernel* const rows = depthwise_rows_kernel(depthwise.isa);
  if (rows == nullptr || !DepthwiseRowsConv::suits(a.geometry)) return pack_depthwise(depthwise, a);
  return DepthwiseByRows{rows, {a.geometry, a.weights, a.x_zero_point, starts(a), a.multiplier, a.bias}};
}

}  // namespace

struct ConvU8S8::Packed {
  ConvGeometry geometry;
  double largest = 0;  // no result is of larger magnitude
  AnyStrategy strategy;
};

ConvU8S8::ConvU8S8(Isa isa, const ConvGeometry& geometry, Span<const std::int8_t> weights,
                   std::uint8_t x_zero_point, Span<const float> multiplier, Span<const float> bias) {
  check_geometry("ConvU8S8", geometry, weights.size(), bias.size());
  QSLIM_REQUIRE(multiplier.size() == geometry.output_channels, "ConvU8S8: multiplier must have ",
                geometry.output_channels, " elements, got ", multiplier.size());
  const std::size_t k = geometry.input_channels / geometry.groups * geometry.kernel_h * geometry.kernel_w;
  std::vector<std::int32_t> weight_sums(geometry.output_channels);
  std::int64_t largest_sum = 0;
  double largest_result = 0;
  for (std::size_t oc = 0; oc < geometry.output_channels; ++oc) {
    std::int64_t sum = 0, magnitude = 0;
    for (std::size_t i = 0; i < k; ++i) {
      const std::int64_t weight = weights[oc * k + i];
      sum += weight;
      magnitude += 255 * std::abs(weight);
    }
    QSLIM_REQUIRE(magnitude <= std::numeric_limits<std::int32_t>::max(), "ConvU8S8: output channel ", oc,
                  " can exceed int32: 255 * sum |weight| is ", magnitude);
    largest_sum = std::max(largest_sum, magnitude);
    weight_sums[oc] = static_cast<std::int32_t>(sum);
    const double largest = std::abs(double{multiplier[oc]}) * static_cast<double>(magnitude) +
                           (bias.empty() ? 0.0 : std::abs(double{bias[oc]}));
    largest_result = std::max(largest_result, largest);
  }
  const Arguments arguments{geometry, weights, x_zero_point, multiplier, bias, weight_sums};
  packed_ =
      std::make_unique<const Packed>(Packed{geometry, largest_result, pack(isa, arguments, largest_sum)});
}

ConvU8S8::~ConvU8S8() = default;
ConvU8S8::ConvU8S8(ConvU8S8&&) noexcept = default;
ConvU8S8& ConvU8S8::operator=(ConvU8S8&&) noexcept = default;

std::size_t ConvU8S8::scratch_bytes(const ConvExtents& extents, std::size_t num_threads) const {
  return std::visit([&](const auto& s) { return s.conv.scratch_bytes(extents, num_threads); },
                    packed_->strategy);
}

void ConvU8S8::run(Context& context, const ConvExtents& extents, const std::uint8_t* x,
                   const RequantizedOutput& output, std::byte* scratch) const {
  check_extents("ConvU8S8", packed_->geometry, extents);
  const Requantization p = requantization(output);
  QSLIM_REQUIRE(output.residual == nullptr || adds_residuals(output.inverse_scale, output.residual_scale),
                "ConvU8S8: ", kernel_name(), " cannot add these residuals; ask adds_residuals()");
  QSLIM_REQUIRE(
      !output.has_hard_swish || (output.residual == nullptr && applies_hard_swish(output.inverse_scale)),
      "ConvU8S8: ", kernel_name(), " cannot apply HardSwish here; ask applies_hard_swish()");
  if (!(packed_->largest * std::abs(double{output.inverse_scale}) < kLargestStep)) {
    const LargeSteps quantizer{extents, packed_->geometry.output_channels, p, output.y};
    run(context, extents, x, RealOutput{nullptr, {&quantizer, take_large_steps}}, scratch);
    return;
  }
  std::visit(
      [&](const auto& s) {
        using Packed = std::decay_t<decltype(s)>;
        auto* kernel = s.kernel->requantize;
        if constexpr (std::is_same_v<Packed, Gemm>) {
          if (output.residual != nullptr) kernel = s.kernel->requantize_sum;
        }
        if constexpr (kMayHaveHardSwish<Packed>) {
          if (output.has_hard_swish) kernel = s.kernel->requantize_hard_swish;
        }
        run_requantized(context, extents, x, output, s.conv, kernel, p, scratch);
      },
      packed_->strategy);
}

void ConvU8S8::run(Context& context, const ConvExtents& extents, const std::uint8_t* x,
                   const RealOutput& output, std::byte* scratch) const {
  check_extents("ConvU8S8", packed_->geometry, extents, output.sink.take != nullptr);
  std::visit([&](const auto& s) { run_real(context, extents, x, output, s.conv, s.kernel->real, scratch); },
             packed_->strategy);
}

bool ConvU8S8::adds_residuals(float inverse_scale, float residual_scale) const noexcept {
  const Gemm* const gemm = std::get_if<Gemm>(&packed_->strategy);
  return gemm != nullptr && gemm->kernel->requantize_sum != nullptr &&
         fits_kernels(packed_->largest + 255 * std::abs(double{residual_scale}), inverse_scale);
}

bool ConvU8S8::applies_hard_swish(float inverse_scale) const noexcept {
  const bool has_kernel = std::visit(
      [](const auto& s) {
        if constexpr (kMayHaveHardSwish<std::decay_t<decltype(s)>>) {
          return s.kernel->requantize_hard_swish != nullptr;
        } else {
          return false;
        }
      },
      packed_->strategy);
  // It multiplies by up to 6 before it divides.
  return has_kernel && fits_kernels(6 * packed_->largest, inverse_scale);
}

const ConvGeometry& ConvU8S8::geometry() const noexcept { return packed_->geometry; }

const char* ConvU8S8::kernel_name() const noexcept {
  return std::visit([](const auto& s) { return s.kernel->name; }, packed_->strategy);
}

std::size_t ConvU8S8::packed_bytes() const noexcept {
  return std::visit([](const auto& s) { return s.conv.packed_bytes(); }, packed_->strategy);
}

}  // namespace qslim
