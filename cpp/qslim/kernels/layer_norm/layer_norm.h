// SPDX-License-Identifier: Apache-2.0
//
// Layer normalization of rows x [rows, n]:
//
//   y = ((x - mean) * inv_std) * gamma + beta
//   mean = sum(x) / n, variance = sum((x - mean)^2) / n, inv_std = 1 / sqrt(variance + epsilon)
//
// Sums run in 16 lanes (kernels/lanes.h). gamma and beta [n], either may be null and is then left out.
// y may be x. Allocates nothing.
//
// Group normalization does the same with each of `groups` parts of an image's channels, whose gamma and beta
// belong to channels: y = ((x - mean) * inv_std) * gamma[c] + beta[c].
#pragma once

#include <cstddef>

#include "qslim/core/context.h"

namespace qslim {

struct LayerNormParams {
  const float* gamma = nullptr;
  const float* beta = nullptr;
  float epsilon = 1e-5f;
};

// Images [batch, channels, pixels]; groups divides channels. Instance normalization has groups of one
// channel.
struct GroupNormExtents {
  std::size_t batch = 1, channels = 1, pixels = 1, groups = 1;
};

void layer_norm(Context& context, std::size_t rows, std::size_t n, const float* x,
                const LayerNormParams& params, float* y);

void group_norm(Context& context, const GroupNormExtents& extents, const float* x,
                const LayerNormParams& params, float* y);

}  // namespace qslim
