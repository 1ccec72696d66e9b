// SPDX-License-Identifier: Apache-2.0
//
// MatMul and Gemm. A constant right-hand matrix is packed like the weight of a 1x1 convolution, or stays in
// integers where only it is quantized; two computed operands are multiplied in float32.
#include <algorithm>
#include <numeric>

#include "qslim/runtime/ops/products/computed_matmul.h"
#include "qslim/runtime/ops/products/linear.h"
#include "qslim/runtime/ops/products/weight_only.h"
#include "qslim/runtime/ops/registry.h"

namespace qslim::runtime {
namespace {

// x [.., K] times a constant [K, N] (or [N, K], transposed).
void compile_with_weights(Compiler& compiler, const Node& node, bool is_transposed, int bias) {
  if (is_weight_only(compiler, node.inputs[0], node.inputs[1], is_transposed)) {
    return emit_weight_only(compiler, node, is_transposed, bias);
  }
  const Dims &x = compiler.dims(node.inputs[0]), &w = compiler.dims(node.inputs[1]);
  const std::size_t k = as_size(w[is_transposed ? 1 : 0]), n = as_size(w[is_transposed ? 0 : 1]);
  LinearPart part;
  part.key = std::to_string(node.outputs[0]);
  part.geometry.input_channels = k;
  part.geometry.output_channels = n;
  part.extents.in_w = part.extents.out_w = as_size(element_count(x)) / k;
  part.extents.x_pixel_stride = k;
  part.extents.y_pixel_stride = n;
  part.extents.y_row_stride = part.extents.y_image_stride = part.extents.out_w * n;
  part.weights.tensor = node.inputs[1];
  part.weights.channel_axis = is_transposed ? 0 : 1;
  if (!is_transposed) {
    part.weights.order.reserve(n * k);
    for (std::size_t column = 0; column < n; ++column) {
      for (std::size_t row = 0; row < k; ++row) part.weights.order.push_back(row * n + column);
    }
  }
  Tail tail = absorb_tail(compiler, node, n, 0, bias);
  emit_linear(compiler, node, node.inputs[0], Layout::kPlain, {part}, std::move(tail));
}

bool is_weight(const Compiler& compiler, int id) {
  return compiler.tensor(id).is_constant() && compiler.tensor(id).dtype == DType::kFloat32 &&
         compiler.dims(id).size() == 2;
}

}  // namespace

void infer_MatMul(InferContext& context) {
  const Dims &a = context.dims(0), &b = context.dims(1);
  context.require(!a.empty() && b.size() >= 2, "expected operands of at least one and two axes");
  context.require(a.back() == b[b.size() - 2] && a.back() > 0, "the inner extents differ");
  context.require(a.size() >= 2 || b.size() == 2, "a vector can only meet a matrix");
  const std::size_t rank = std::max(a.size(), b.size());
  Dims result;
  for (std::size_t i = 0; i + 2 < rank; ++i) {
    const std::size_t from_end = rank - i;
    const std::int64_t x = from_end <= a.size() ? a[a.size() - from_end] : 1;
    const std::int64_t y = from_end <= b.size() ? b[b.size() - from_end] : 1;
    context.require(x == y || x == 1 || y == 1, "the leading extents do not broadcast");
    result.push_back(x == 1 ? y : x);
  }
  if (a.size() >= 2) result.push_back(a[a.size() - 2]);
  result.push_back(b.back());
  context.set_output(0, std::move(result), DType::kFloat32);
}

bool splits_MatMul(const InferContext& context) {
  if (!context.depends_on_input(1)) return context.rank(0) >= context.rank(1);
  return context.rank(0) >= 3 && context.rank(0) == context.rank(1);
}

void compile_MatMul(Compiler& compiler, const Node& node) {
  if (is_weight(compiler, node.inputs[1])) {
    compile_with_weights(compiler, node, /*is_transposed=*/false, kAbsent);
  } else {
    emit_matmul(compiler, node);
  }
}

void infer_Gemm(InferContext& context) {
  context.require(context.rank(0) == 2 && context.rank(1) == 2, "expected two matrices");
  const bool transposed = context.attributes.integer("transB", 0) != 0;
  const Dims& b = context.dims(1);
  context.require(context.attributes.integer("transA", 0) == 0 &&
                      context.attributes.real("alpha", 1) == 1.0f &&
                      context.attributes.real("beta", 1) == 1.0f,
                  "transA, alpha and beta are not supported");
  context.require(context.dims(0)[1] == b[transposed ? 1 : 0] && context.dims(0)[1] > 0,
                  "the inner extents differ");
  context.set_output(0, {context.dims(0)[0], b[transposed ? 0 : 1]}, DType::kFloat32);
}

bool splits_Gemm(const InferContext& context) { return !context.depends_on_input(1); }

void compile_Gemm(Compiler& compiler, const Node& node) {
  const int bias = node.inputs.size() > 2 ? node.inputs[2] : kAbsent;
  QSLIM_REQUIRE(
      is_weight(compiler, node.inputs[1]) && (bias == kAbsent || compiler.tensor(bias).is_constant()),
      "Gemm '", node.label, "': its weight and bias must be constants");
  compile_with_weights(compiler, node, Attributes(node).integer("transB", 0) != 0, bias);
}

}  // namespace qslim::runtime
