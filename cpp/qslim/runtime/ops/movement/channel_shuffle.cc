// SPDX-License-Identifier: Apache-2.0
#include "qslim/runtime/ops/movement/channel_shuffle.h"

#include <utility>

#include "qslim/runtime/lowering/conversions.h"

namespace qslim::runtime {

bool emit_channel_shuffle(Compiler& compiler, const Node& node) {
  const int x = node.inputs[0], split = node.outputs[0];
  const Dims &dx = compiler.dims(x), &ds = compiler.dims(split);
  if (dx.size() != 4 || ds.size() != 5 || compiler.layout_of(x) != Layout::kChannelsLast ||
      !compiler.has_value(x) || compiler.consumers(split).size() != 1 || compiler.is_output(split)) {
    return false;
  }
  const Node& transpose = *compiler.consumers(split)[0];
  if (transpose.op_type != "Transpose" || !transpose.domain.empty() || transpose.inputs[0] != split)
    return false;
  const int moved = transpose.outputs[0];
  if (Attributes(transpose).integers("perm") != std::vector<std::int64_t>{0, 2, 1, 3, 4} ||
      compiler.consumers(moved).size() != 1 || compiler.is_output(moved)) {
    return false;
  }
  const Node& join = *compiler.consumers(moved)[0];
  const int y = join.outputs[0];
  const bool fits = join.op_type == "Reshape" && join.inputs[0] == moved && join.domain.empty() &&
                    compiler.dims(y) == dx && ds[0] == dx[0] && ds[1] * ds[2] == dx[1] && ds[3] == dx[2] &&
                    ds[4] == dx[3];
  const bool same_storage = compiler.storage(x) == compiler.storage(split) &&
                            compiler.storage(split) == compiler.storage(moved) &&
                            compiler.storage(moved) == compiler.storage(y);
  if (!fits || !same_storage ||
      compiler.tensor(split).quantization.has_value() != compiler.tensor(moved).quantization.has_value()) {
    return false;
  }
  const Value from = compiler.get(x, Layout::kChannelsLast);
  const Value to = compiler.define(y, Layout::kChannelsLast, compiler.storage(y));
  const std::int64_t groups = ds[1], size = ds[2], channels = dx[1];
  Step step = compiler.step_for(node, "strided_copy", to.storage.is_quantized() ? "int8" : "float32");
  step.op = "ChannelShuffle";
  step.reads = {from.buffer};
  step.writes = {to.buffer};
  emit_copy(compiler, std::move(step), from, to,
            Copy{{dx[0] * dx[2] * dx[3], size, groups}, {channels, 1, size}, {channels, groups, 1}});
  compiler.mark_done(transpose);
  compiler.mark_done(join);
  return true;
}

}  // namespace qslim::runtime
