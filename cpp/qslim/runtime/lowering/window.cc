// SPDX-License-Identifier: Apache-2.0
#include "qslim/runtime/lowering/window.h"

#include <algorithm>

namespace qslim::runtime {
namespace {

constexpr std::int64_t kLargest = 1 << 20;  // of any attribute; keeps the products below in 64 bits

void read_pair(const Node& node, const char* name, std::int64_t least, std::int64_t (&pair)[2]) {
  const std::vector<std::int64_t> values = Attributes(node).integers(name);
  if (values.empty()) return;
  QSLIM_REQUIRE(values.size() == 2 && values[0] >= least && values[1] >= least && values[0] <= kLargest &&
                    values[1] <= kLargest,
                node.op_type, " '", node.label, "': ", name, " must be two numbers of at least ", least,
                ", got ", text_of(values));
  std::copy(values.begin(), values.end(), pair);
}

Window attributes_of(const Node& node, const Dims& input, std::int64_t kernel_h, std::int64_t kernel_w) {
  QSLIM_REQUIRE(input.size() == 4, node.op_type, " '", node.label, "': expected an input [N, C, H, W], got ",
                text_of(input));
  Window w;
  w.kernel[0] = kernel_h;
  w.kernel[1] = kernel_w;
  QSLIM_REQUIRE(kernel_h >= 1 && kernel_w >= 1 && kernel_h <= kLargest && kernel_w <= kLargest, node.op_type,
                " '", node.label, "': a kernel of ", kernel_h, " x ", kernel_w);
  read_pair(node, "strides", 1, w.stride);
  read_pair(node, "dilations", 1, w.dilation);
  const std::vector<std::int64_t> pads = Attributes(node).integers("pads");
  if (!pads.empty()) {
    QSLIM_REQUIRE(pads.size() == 4 && *std::min_element(pads.begin(), pads.end()) >= 0 &&
                      *std::max_element(pads.begin(), pads.end()) <= kLargest,
                  node.op_type, " '", node.label, "': pads must be four numbers >= 0, got ", text_of(pads));
    for (std::size_t i = 0; i < 2; ++i) {
      w.pad_begin[i] = pads[i];
      w.pad_end[i] = pads[i + 2];
    }
  }
  return w;
}

}  // namespace

Window window_of(const Node& node, const Dims& input, std::int64_t kernel_h, std::int64_t kernel_w) {
  Window w = attributes_of(node, input, kernel_h, kernel_w);
  const std::string auto_pad = Attributes(node).text("auto_pad", "NOTSET");
  const bool ceil_mode = Attributes(node).integer("ceil_mode", 0) != 0;
  for (std::size_t i = 0; i < 2; ++i) {
    const std::int64_t in = input[i + 2], span = (w.kernel[i] - 1) * w.dilation[i] + 1;
    if (auto_pad == "SAME_UPPER" || auto_pad == "SAME_LOWER") {
      w.out[i] = (in + w.stride[i] - 1) / w.stride[i];
      const std::int64_t total = std::max<std::int64_t>(0, (w.out[i] - 1) * w.stride[i] + span - in);
      w.pad_begin[i] = auto_pad == "SAME_UPPER" ? total / 2 : total - total / 2;
      w.pad_end[i] = total - w.pad_begin[i];
      continue;
    }
    if (auto_pad == "VALID") w.pad_begin[i] = w.pad_end[i] = 0;
    const std::int64_t room = in + w.pad_begin[i] + w.pad_end[i] - span;
    QSLIM_REQUIRE(room >= 0, node.op_type, " '", node.label, "': a kernel that spans ", span,
                  " does not fit an input of ", in, " with pads ", w.pad_begin[i], " and ", w.pad_end[i]);
    w.out[i] = (room + (ceil_mode ? w.stride[i] - 1 : 0)) / w.stride[i] + 1;
    // The last window has to begin inside the input or its leading padding.
    if (ceil_mode && (w.out[i] - 1) * w.stride[i] >= in + w.pad_begin[i]) --w.out[i];
  }
  return w;
}

Window transposed_window_of(const Node& node, const Dims& input, std::int64_t kernel_h,
                            std::int64_t kernel_w) {
  Window w = attributes_of(node, input, kernel_h, kernel_w);
  std::int64_t extra[2] = {0, 0};
  read_pair(node, "output_padding", 0, extra);
  const std::vector<std::int64_t> wanted = Attributes(node).integers("output_shape");
  const std::string auto_pad = Attributes(node).text("auto_pad", "NOTSET");
  for (std::size_t i = 0; i < 2; ++i) {
    const std::int64_t full =
        (input[i + 2] - 1) * w.stride[i] + (w.kernel[i] - 1) * w.dilation[i] + 1 + extra[i];
    if (auto_pad == "SAME_UPPER" || auto_pad == "SAME_LOWER") {
      const std::int64_t total = std::max<std::int64_t>(0, full - input[i + 2] * w.stride[i]);
      w.pad_begin[i] = auto_pad == "SAME_UPPER" ? total / 2 : total - total / 2;
      w.pad_end[i] = total - w.pad_begin[i];
    } else if (auto_pad == "VALID") {
      w.pad_begin[i] = w.pad_end[i] = 0;
    }
    w.out[i] = full - w.pad_begin[i] - w.pad_end[i];
    QSLIM_REQUIRE(w.out[i] >= 1, node.op_type, " '", node.label, "': nothing is left of an extent of ",
                  input[i + 2]);
  }
  QSLIM_REQUIRE(wanted.empty(), node.op_type, " '", node.label, "': attribute output_shape is not supported");
  return w;
}

}  // namespace qslim::runtime
