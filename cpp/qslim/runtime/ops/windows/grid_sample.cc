// SPDX-License-Identifier: Apache-2.0
//
// GridSample of images, in float32.
#include "qslim/kernels/grid_sample/grid_sample.h"

#include "qslim/runtime/lowering/conversions.h"
#include "qslim/runtime/ops/registry.h"

namespace qslim::runtime {
namespace {

GridSampleExtents sampling_of(const InferContext& context) {
  context.require_real(0);
  context.require_real(1);
  const Dims &x = context.dims(0), &grid = context.dims(1);
  context.require(x.size() == 4 && grid.size() == 4 && grid[3] == 2 && grid[0] == x[0],
                  "expected images [N, C, H, W] and a grid [N, OH, OW, 2]");
  const std::string mode = context.attributes.text("mode", "linear"),
                    padding = context.attributes.text("padding_mode", "zeros");
  const bool is_nearest = mode == "nearest";
  context.require(is_nearest || mode == "linear" || mode == "bilinear", "the modes are linear and nearest");
  context.require(padding == "zeros" || padding == "border" || padding == "reflection",
                  "the padding modes are zeros, border and reflection");
  GridSampleExtents e;
  e.batch = as_size(x[0]);
  e.channels = as_size(x[1]);
  e.in_h = as_size(x[2]);
  e.in_w = as_size(x[3]);
  e.out_h = as_size(grid[1]);
  e.out_w = as_size(grid[2]);
  e.is_nearest = is_nearest;
  e.aligns_corners = context.attributes.integer("align_corners", 0) != 0;
  e.padding = padding == "zeros"    ? SamplePadding::kZeros
              : padding == "border" ? SamplePadding::kBorder
                                    : SamplePadding::kReflection;
  return e;
}

}  // namespace

void infer_GridSample(InferContext& context) {
  sampling_of(context);
  const Dims &x = context.dims(0), &grid = context.dims(1);
  context.set_output(0, {x[0], x[1], grid[1], grid[2]}, DType::kFloat32);
}

bool splits_GridSample(const InferContext& context) {
  return context.depends_on_input(0) && context.depends_on_input(1);
}

void compile_GridSample(Compiler& compiler, const Node& node) {
  const int y = node.outputs[0];
  const GridSampleExtents extents = compiler.with_context(node, sampling_of);
  const Value x = compiler.get_real(node.inputs[0], Layout::kPlain);
  const Value grid = compiler.get_real(node.inputs[1], Layout::kPlain);
  const Value to = define_or_round_later(compiler, y, Layout::kPlain, real_storage());
  Step step = compiler.step_for(node, "grid_sample", "float32");
  step.reads = {x.buffer, grid.buffer};
  step.writes = {to.buffer};
  step.run = [=, p = x.buffer, q = grid.buffer, r = to.buffer](const Execution& e) {
    grid_sample(e.context, extents, e.at<float>(p), e.at<float>(q), e.at<float>(r));
  };
  compiler.emit(std::move(step));
  round_if_needed(compiler, y, to);
}

}  // namespace qslim::runtime
