// SPDX-License-Identifier: Apache-2.0
//
// Poolings of images; lowering/pooling.h emits their steps.
#include "qslim/runtime/lowering/pooling.h"
#include "qslim/runtime/lowering/window.h"
#include "qslim/runtime/ops/registry.h"

namespace qslim::runtime {
namespace {

Window window_from_attributes(const Node& node, const Dims& x) {
  const std::vector<std::int64_t> kernel = Attributes(node).integers("kernel_shape");
  QSLIM_REQUIRE(kernel.size() == 2, node.op_type, " '", node.label,
                "': expected a kernel_shape of two extents");
  return window_of(node, x, kernel[0], kernel[1]);
}

void infer_windowed(InferContext& context) {
  context.require_real(0);
  const Dims& x = context.dims(0);
  const Window w = window_from_attributes(context.node(), x);
  context.set_output(0, {x[0], x[1], w.out[0], w.out[1]}, context.input(0).dtype);
}

void infer_global(InferContext& context) {
  context.require_real(0);
  context.require(context.rank(0) == 4, "expected an input [N, C, H, W]");
  context.set_output(0, {context.dims(0)[0], context.dims(0)[1], 1, 1}, context.input(0).dtype);
}

}  // namespace

void infer_MaxPool(InferContext& context) { infer_windowed(context); }
bool splits_MaxPool(const InferContext&) { return true; }
void compile_MaxPool(Compiler& compiler, const Node& node) {
  QSLIM_REQUIRE(node.outputs.size() == 1 || node.outputs[1] == kAbsent, "MaxPool '", node.label,
                "': indices are not computed here");
  emit_max_pool(compiler, node, window_from_attributes(node, compiler.dims(node.inputs[0])));
}

void infer_AveragePool(InferContext& context) { infer_windowed(context); }
bool splits_AveragePool(const InferContext&) { return true; }
void compile_AveragePool(Compiler& compiler, const Node& node) {
  const Dims& x = compiler.dims(node.inputs[0]);
  emit_average_pool(compiler, node, window_from_attributes(node, x),
                    Attributes(node).integer("count_include_pad", 0) != 0, x);
}

void infer_GlobalMaxPool(InferContext& context) { infer_global(context); }
bool splits_GlobalMaxPool(const InferContext&) { return true; }
void compile_GlobalMaxPool(Compiler& compiler, const Node& node) {
  emit_max_pool(compiler, node, whole_image(compiler.dims(node.inputs[0])));
}

void infer_GlobalAveragePool(InferContext& context) { infer_global(context); }
bool splits_GlobalAveragePool(const InferContext&) { return true; }
void compile_GlobalAveragePool(Compiler& compiler, const Node& node) { emit_global_average(compiler, node); }

}  // namespace qslim::runtime
