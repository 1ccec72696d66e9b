// SPDX-License-Identifier: Apache-2.0
//
// Window: strides, pads and dilations of convolutions and poolings, ONNX's attributes checked and completed.
#pragma once

#include "qslim/runtime/lowering/infer_context.h"

namespace qslim::runtime {

struct Window {
  std::int64_t kernel[2] = {1, 1}, stride[2] = {1, 1}, dilation[2] = {1, 1};
  std::int64_t pad_begin[2] = {0, 0}, pad_end[2] = {0, 0};
  std::int64_t out[2] = {1, 1};
};

// For an input of extents [N, C, H, W]; InvalidArgument where the attributes make no sense.
Window window_of(const Node& node, const Dims& input, std::int64_t kernel_h, std::int64_t kernel_w);
// The same for ConvTranspose.
Window transposed_window_of(const Node& node, const Dims& input, std::int64_t kernel_h,
                            std::int64_t kernel_w);

}  // namespace qslim::runtime
