// SPDX-License-Identifier: Apache-2.0
#include "qslim/runtime/ops/products/computed_matmul.h"

#include "qslim/kernels/matmul_f32/matmul_f32.h"
#include "qslim/runtime/lowering/conversions.h"

namespace qslim::runtime {
namespace {

constexpr std::size_t kBatchAxes = MatmulExtents::kBatchAxes;

// Strides of the leading axes of an operand, right-aligned; 0 where it broadcasts.
void set_batch_strides(const Dims& dims, std::ptrdiff_t (&strides)[kBatchAxes]) {
  const Dims own = strides_of(dims);
  for (std::size_t i = 0; i + 2 < dims.size(); ++i) {
    const std::size_t at = kBatchAxes - (dims.size() - 2) + i;
    strides[at] = dims[i] == 1 ? 0 : static_cast<std::ptrdiff_t>(own[i]);
  }
}

}  // namespace

void emit_matmul(Compiler& compiler, const Node& node) {
  const int y = node.outputs[0];
  const Value a = compiler.get_real(node.inputs[0], Layout::kPlain);
  const Value b = compiler.get_real(node.inputs[1], Layout::kPlain);
  const Dims& out = compiler.dims(y);
  Dims wide_a = a.dims;
  if (wide_a.size() == 1) wide_a.insert(wide_a.begin(), 1);
  Dims wide_out = out;
  if (a.dims.size() == 1) wide_out.insert(wide_out.end() - 1, 1);
  QSLIM_REQUIRE(wide_out.size() <= kBatchAxes + 2, "MatMul '", node.label, "': more than ", kBatchAxes,
                " leading axes are not supported");
  MatmulExtents extents;
  extents.m = as_size(wide_a[wide_a.size() - 2]);
  extents.k = as_size(wide_a.back());
  extents.n = as_size(b.dims.back());
  extents.a_m_stride = static_cast<std::ptrdiff_t>(extents.k);
  extents.b_k_stride = extents.c_m_stride = static_cast<std::ptrdiff_t>(extents.n);
  for (std::size_t i = 0; i + 2 < wide_out.size(); ++i) {
    extents.batch[kBatchAxes - (wide_out.size() - 2) + i] = as_size(wide_out[i]);
  }
  set_batch_strides(wide_a, extents.a_batch_strides);
  set_batch_strides(b.dims, extents.b_batch_strides);
  set_batch_strides(wide_out, extents.c_batch_strides);
  const Value to = define_or_round_later(compiler, y, Layout::kPlain, real_storage());
  Step step = compiler.step_for(node, "matmul_f32", "float32");
  step.reads = {a.buffer, b.buffer};
  step.writes = {to.buffer};
  step.macs = element_count(out) * static_cast<std::int64_t>(extents.k);
  step.scratch_bytes = matmul_f32_scratch_bytes(extents, compiler.num_threads());
  step.run = [extents, p = a.buffer, q = b.buffer, r = to.buffer](const Execution& e) {
    matmul_f32(e.context, extents, e.at<float>(p), e.at<float>(q), e.at<float>(r), e.scratch);
  };
  compiler.emit(std::move(step));
  round_if_needed(compiler, y, to);
}

}  // namespace qslim::runtime
