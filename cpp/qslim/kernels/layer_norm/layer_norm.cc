// SPDX-License-Identifier: Apache-2.0
#include "qslim/kernels/layer_norm/layer_norm.h"

#include <algorithm>

#include "qslim/core/dispatch.h"
#include "qslim/kernels/layer_norm/table.h"

namespace qslim {
namespace {

constexpr std::size_t kTask = 16 << 10;  // elements

}  // namespace

void layer_norm(Context& context, std::size_t rows, std::size_t n, const float* x,
                const LayerNormParams& params, float* y) {
  QSLIM_REQUIRE(params.epsilon >= 0, "layer_norm: epsilon must be >= 0, got ", params.epsilon);
  if (rows == 0 || n == 0) return;
  const LayerNormFn kernel = best_kernel(kLayerNormKernels, context.isa()).row;
  context.pool().for_each_block(rows, std::max<std::size_t>(kTask / n, 1), [&](Block block) {
    for (std::size_t r = block.begin; r < block.begin + block.size; ++r) {
      kernel(n, x + r * n, params.gamma, params.beta, params.epsilon, y + r * n);
    }
  });
}

void group_norm(Context& context, const GroupNormExtents& e, const float* x, const LayerNormParams& params,
                float* y) {
  QSLIM_REQUIRE(params.epsilon >= 0, "group_norm: epsilon must be >= 0, got ", params.epsilon);
  QSLIM_REQUIRE(e.groups > 0 && e.channels % e.groups == 0, "group_norm: ", e.groups,
                " groups do not divide ", e.channels, " channels");
  const std::size_t channels = e.channels / e.groups, n = channels * e.pixels;
  if (e.batch == 0 || n == 0) return;
  const LayerNormFn kernel = best_kernel(kLayerNormKernels, context.isa()).row;
  context.pool().for_each_block(e.batch * e.groups, std::max<std::size_t>(kTask / n, 1), [&](Block block) {
    for (std::size_t r = block.begin; r < block.begin + block.size; ++r) {
      float* const group = y + r * n;
      kernel(n, x + r * n, nullptr, nullptr, params.epsilon, group);
      for (std::size_t i = 0; i < channels; ++i) {
        const std::size_t channel = r % e.groups * channels + i;
        const float gamma = params.gamma != nullptr ? params.gamma[channel] : 1.0f;
        const float beta = params.beta != nullptr ? params.beta[channel] : 0.0f;
        float* const pixels = group + i * e.pixels;
        for (std::size_t p = 0; p < e.pixels; ++p) pixels[p] = pixels[p] * gamma + beta;
      }
    }
  });
}

}  // namespace qslim
