// SPDX-License-Identifier: Apache-2.0
//
// DepthToSpace and SpaceToDepth: blocks of pixels to channels and back, each one strided copy.
//
//   small [N, C * b * b, H, W]   large [N, C, H * b, W * b]
//   mode DCR: channel (i * b + j) * C + c of the small image is pixel (i, j) of a block of channel c
//   mode CRD: channel (c * b + i) * b + j
//
// SpaceToDepth has no mode: it undoes DCR.
#include "qslim/runtime/lowering/conversions.h"
#include "qslim/runtime/ops/registry.h"

namespace qslim::runtime {
namespace {

std::int64_t block_of(const InferContext& context) {
  context.require(context.rank(0) == 4, "expected an input [N, C, H, W]");
  const std::int64_t block = context.attributes.integer("blocksize", 0);
  context.require(block >= 1 && block <= 1024, "blocksize must lie in [1, 1024]");
  return block;
}

// [N, C, H, i, W, j] of an image, by the strides of its channels, lines and columns. `c`, `i` and `j` are
// channels from one to the next.
Dims small_strides(const Value& value, std::int64_t c, std::int64_t i, std::int64_t j) {
  const Dims s = logical_strides(value);
  return {s[0], s[1] * c, s[2], s[1] * i, s[3], s[1] * j};
}

Dims large_strides(const Value& value, std::int64_t block) {
  const Dims s = logical_strides(value);
  return {s[0], s[1], s[2] * block, s[2], s[3] * block, s[3]};
}

void compile_blocks(Compiler& compiler, const Node& node, bool to_space, bool channels_first) {
  const int x = node.inputs[0], y = node.outputs[0];
  const std::int64_t block = Attributes(node).integer("blocksize", 0);
  const Layout layout = compiler.layout_of(x);
  const Value from = get_on_grid_of(compiler, x, y, layout);
  const Value to = compiler.define(y, layout, from.storage);
  const Value &small = to_space ? from : to, &large = to_space ? to : from;
  const std::int64_t channels = large.dims[1];
  const Dims in_small = channels_first ? small_strides(small, block * block, block, 1)
                                       : small_strides(small, 1, block * channels, channels);
  const Dims in_large = large_strides(large, block);
  const Dims extents = {small.dims[0], channels, small.dims[2], block, small.dims[3], block};
  Step step = compiler.step_for(node, "strided_copy", to.storage.is_quantized() ? "int8" : name_of(to.dtype));
  step.reads = {from.buffer};
  step.writes = {to.buffer};
  emit_copy(compiler, std::move(step), from, to,
            Copy{extents, to_space ? in_small : in_large, to_space ? in_large : in_small});
}

}  // namespace

void infer_DepthToSpace(InferContext& context) {
  const std::int64_t block = block_of(context);
  const std::string mode = context.attributes.text("mode", "DCR");
  context.require(mode == "DCR" || mode == "CRD", "the modes are DCR and CRD");
  const Dims& x = context.dims(0);
  context.require(x[1] % (block * block) == 0, "the channels are no multiple of blocksize squared");
  context.set_output(0, {x[0], x[1] / (block * block), x[2] * block, x[3] * block}, context.input(0).dtype);
}
bool splits_DepthToSpace(const InferContext&) { return true; }
void compile_DepthToSpace(Compiler& compiler, const Node& node) {
  compile_blocks(compiler, node, /*to_space=*/true, Attributes(node).text("mode", "DCR") == "CRD");
}

void infer_SpaceToDepth(InferContext& context) {
  const std::int64_t block = block_of(context);
  const Dims& x = context.dims(0);
  context.require(x[2] % block == 0 && x[3] % block == 0, "H or W is no multiple of blocksize");
  context.set_output(0, {x[0], x[1] * block * block, x[2] / block, x[3] / block}, context.input(0).dtype);
}
bool splits_SpaceToDepth(const InferContext&) { return true; }
void compile_SpaceToDepth(Compiler& compiler, const Node& node) {
  compile_blocks(compiler, node, /*to_space=*/false, /*channels_first=*/false);
}

}  // namespace qslim::runtime
