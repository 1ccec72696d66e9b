// SPDX-License-Identifier: Apache-2.0
#include "qslim/runtime/ops/products/tail.h"

namespace qslim::runtime {
namespace {

// Return a constant operand of an Add as one value for each channel, or nothing if it is none.
std::vector<float> channel_constant(const Compiler& compiler, int id, std::size_t rank, std::size_t channels,
                                    std::size_t axes_behind) {
  const Tensor& tensor = compiler.tensor(id);
  if (!tensor.is_constant() || tensor.dtype != DType::kFloat32) return {};
  const Dims& dims = compiler.dims(id);
  if (dims.size() > rank) return {};
  for (std::size_t i = 0; i < dims.size(); ++i) {
    const std::size_t from_end = dims.size() - 1 - i;
    if (dims[i] != 1 && (from_end != axes_behind || dims[i] != static_cast<std::int64_t>(channels)))
      return {};
  }
  std::vector<float> values = compiler.constant_floats(id);
  if (values.size() == 1) values.assign(channels, values[0]);
  return values.size() == channels ? values : std::vector<float>{};
}

bool absorb_add(Compiler& compiler, const Node& node, std::size_t channels, std::size_t axes_behind,
                Tail& tail) {
  if (node.op_type != "Add" || tail.clamps() || !tail.bias.empty()) return false;
  const int other = node.inputs[0] == tail.result ? node.inputs[1] : node.inputs[0];
  if (other == tail.result) return false;
  const std::vector<float> values =
      channel_constant(compiler, other, compiler.dims(tail.result).size(), channels, axes_behind);
  tail.bias = values;
  return !values.empty();
}

bool absorb_clamp(Compiler& compiler, const Node& node, Tail& tail) {
  float lo = -std::numeric_limits<float>::infinity(), hi = std::numeric_limits<float>::infinity();
  if (node.op_type == "Relu") {
    lo = 0;
  } else if (node.op_type == "Clip") {
    for (std::size_t i = 1; i < node.inputs.size(); ++i) {
      if (node.inputs[i] == kAbsent) continue;
      if (!compiler.tensor(node.inputs[i]).is_constant() ||
          element_count(compiler.dims(node.inputs[i])) != 1) {
        return false;
      }
      (i == 1 ? lo : hi) = compiler.constant_floats(node.inputs[i])[0];
    }
  } else {
    return false;
  }
  if (!(lo <= hi) || tail.clamps()) return false;
  tail.lo = lo;
  tail.hi = hi;
  return true;
}

}  // namespace

Tail absorb_tail(Compiler& compiler, const Node& node, std::size_t channels, std::size_t axes_behind,
                 int bias) {
  Tail tail;
  tail.result = node.outputs[0];
  if (bias != kAbsent) {
    tail.bias = compiler.constant_floats(bias);
    QSLIM_REQUIRE(tail.bias.size() == channels, node.op_type, " '", node.label, "': expected a bias of ",
                  channels, " values, got ", tail.bias.size());
  }
  while (compiler.is_private(tail.result)) {
    const Node& next = *compiler.consumers(tail.result)[0];
    if (!next.domain.empty() || compiler.dims(next.outputs[0]) != compiler.dims(tail.result)) break;
    if (!absorb_add(compiler, next, channels, axes_behind, tail) && !absorb_clamp(compiler, next, tail))
      break;
    compiler.mark_done(next);
    tail.result = next.outputs[0];
    tail.names += "+" + next.op_type;
  }
  return tail;
}

}  // namespace qslim::runtime
