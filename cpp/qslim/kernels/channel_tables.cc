// SPDX-License-Identifier: Apache-2.0
//
// Checks of quantization parameters, in words a user can act on, and the tables kernels read.
#include "qslim/kernels/channel_tables.h"

#include "qslim/core/error.h"

namespace qslim {
namespace {

void check(const char* function, const ChannelExtents& extents, const AffineParams& params) {
  QSLIM_REQUIRE(params.scale.size() == extents.channels, function, ": scale must have ", extents.channels,
                extents.channels == 1 ? " element" : " elements (one per channel)", ", got ",
                params.scale.size());
  QSLIM_REQUIRE(params.zero_point.size() == 1 || params.zero_point.size() == extents.channels, function,
                ": zero_point must have 1 or ", extents.channels, " elements, got ",
                params.zero_point.size());
  QSLIM_REQUIRE(params.qmin < params.qmax, function, ": qmin must be below qmax, got qmin ", params.qmin,
                " and qmax ", params.qmax);
  QSLIM_REQUIRE(params.qmin >= -kMaxGrid && params.qmax <= kMaxGrid, function, ": qmin and qmax must be in [",
                -kMaxGrid, ", ", kMaxGrid, "], got ", params.qmin, " and ", params.qmax);
  for (std::size_t c = 0; c < params.scale.size(); ++c) {
    const float scale = params.scale[c];
    QSLIM_REQUIRE(scale >= kMinScale && scale <= kMaxScale, function,
                  ": scale must be finite and > 0 (at least 2^-126, at most 2^126), got ", scale,
                  extents.channels == 1 ? "" : concatenate(" for channel ", c));
  }
  for (std::size_t c = 0; c < params.zero_point.size(); ++c) {
    const std::int32_t zero_point = params.zero_point[c];
    QSLIM_REQUIRE(zero_point >= params.qmin && zero_point <= params.qmax, function,
                  ": zero_point must be in [", params.qmin, ", ", params.qmax,
                  "] so that 0.0 is representable, got ", zero_point);
  }
}

}  // namespace

ChannelTables::ChannelTables(const char* function, const ChannelExtents& extents,
                             const AffineParams& params) {
  check(function, extents, params);
  const std::size_t channels = extents.channels;
  std::size_t repeats = 1;
  if (extents.inner == 1 && channels > 1 && channels < kMinRun) {
    repeats = std::min((kMinRun + channels - 1) / channels, std::max<std::size_t>(1, extents.outer));
  }
  length_ = channels * repeats;
  storage_ = AlignedBuffer<float>(5 * length_);
  float* scale = storage_.data();
  for (std::size_t i = 0; i < length_; ++i) {
    const std::size_t c = i % channels;
    const std::int32_t zero_point = params.zero_point[params.zero_point.size() == 1 ? 0 : c];
    scale[i] = params.scale[c];
    scale[length_ + i] = 1.0f / params.scale[c];
    scale[2 * length_ + i] = static_cast<float>(params.qmin - zero_point);
    scale[3 * length_ + i] = static_cast<float>(params.qmax - zero_point);
    scale[4 * length_ + i] = static_cast<float>(zero_point);
  }
}

}  // namespace qslim
