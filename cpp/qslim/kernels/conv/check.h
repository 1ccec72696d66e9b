// SPDX-License-Identifier: Apache-2.0
//
// The checks of both convolutions' arguments.
#pragma once

#include <cstddef>

#include "qslim/core/conv_geometry.h"
#include "qslim/core/error.h"

namespace qslim {

// Return true if each channel is convolved by itself.
inline bool is_depthwise(const ConvGeometry& g) noexcept {
  return g.groups > 1 && g.groups == g.input_channels && g.groups == g.output_channels;
}

inline void check_geometry(const char* who, const ConvGeometry& g, std::size_t weights, std::size_t bias) {
  QSLIM_REQUIRE(g.groups > 0 && g.input_channels > 0 && g.output_channels > 0 &&
                    g.input_channels % g.groups == 0 && g.output_channels % g.groups == 0,
                who, ": groups must divide the channels, got ", g.groups, " groups, ", g.input_channels,
                " input and ", g.output_channels, " output channels");
  QSLIM_REQUIRE(g.kernel_h > 0 && g.kernel_w > 0 && g.stride_h > 0 && g.stride_w > 0 && g.dilation_h > 0 &&
                    g.dilation_w > 0,
                who, ": kernel, stride and dilation must be > 0");
  const std::size_t expected = g.output_channels * (g.input_channels / g.groups) * g.kernel_h * g.kernel_w;
  QSLIM_REQUIRE(weights == expected, who, ": weights must have ", expected, " elements, got ", weights);
  QSLIM_REQUIRE(bias == 0 || bias == g.output_channels, who, ": bias must have ", g.output_channels,
                " elements or none, got ", bias);
}

inline void check_extents(const char* who, const ConvGeometry& g, const ConvExtents& e,
                          bool to_sink = false) {
  QSLIM_REQUIRE(e.x_pixel_stride >= g.input_channels, who, ": x_pixel_stride must be >= ", g.input_channels,
                ", got ", e.x_pixel_stride);
  QSLIM_REQUIRE(to_sink || e.out_w <= 1 || e.y_pixel_stride >= g.output_channels, who,
                ": y_pixel_stride must be >= ", g.output_channels, ", got ", e.y_pixel_stride);
}

}  // namespace qslim
