// SPDX-License-Identifier: Apache-2.0
#include "qslim/runtime/ops/products/weight_only.h"

#include <memory>
#include <utility>

#include "qslim/kernels/weight_only/weight_only.h"
#include "qslim/runtime/ops/products/linear.h"

namespace qslim::runtime {
namespace {

std::shared_ptr<const WeightOnly> packed_weight(Compiler& compiler, const Node& node, bool is_transposed,
                                                const std::vector<float>& bias) {
  const int id = node.inputs[1];
  const std::string key = concatenate(bias.empty() ? "integers " : "integers with bias ", node.outputs[0]);
  return compiler.weights().get<WeightOnly>(key, [&] {
    const Tensor& tensor = compiler.tensor(id);
    const Quantization& q = *tensor.quantization;
    const std::vector<std::int8_t> integers = signed_integers(tensor);
    WeightOnlyWeights weights;
    const std::size_t rows = as_size(compiler.dims(id)[0]), columns = as_size(compiler.dims(id)[1]);
    weights.k = is_transposed ? columns : rows;
    weights.n = is_transposed ? rows : columns;
    weights.integers = integers.data();
    weights.k_stride = is_transposed ? 1 : columns;
    weights.n_stride = is_transposed ? columns : 1;
    weights.scale = q.scale.data();
    weights.group_size = q.group_size;
    weights.is_narrow = q.fits_half_a_byte();
    if (q.scale.size() == 1) {
      weights.scale_n_stride = 0;
    } else if (q.group_size != 0) {
      weights.scale_n_stride = is_transposed ? q.groups_of(columns) : 1;
      weights.scale_group_stride = is_transposed ? 1 : columns;
    }
    WeightOnly packed(compiler.isa(), weights, bias);
    compiler.weights().add_bytes(packed.packed_bytes());
    return packed;
  });
}

}  // namespace

bool is_weight_only(const Compiler& compiler, int x, int weight, bool is_transposed) {
  const auto& q = compiler.tensor(weight).quantization;
  if (!q || !q->fits_a_byte() || q->is_unsigned() || q->zero_point != 0) return false;
  const bool has_right_axis = !q->quant_axis || *q->quant_axis == (is_transposed ? 0u : 1u);
  // The scales of a sum of integers are those of its channel; groups within one leave only floats.
  return has_right_axis && (q->group_size != 0 || !compiler.storage(x).is_quantized());
}

void emit_weight_only(Compiler& compiler, const Node& node, bool is_transposed, int bias) {
  const Dims &x_dims = compiler.dims(node.inputs[0]), &w_dims = compiler.dims(node.inputs[1]);
  const std::size_t k = as_size(w_dims[is_transposed ? 1 : 0]), n = as_size(w_dims[is_transposed ? 0 : 1]);
  const std::size_t rows = as_size(element_count(x_dims)) / k;
  Tail tail = absorb_tail(compiler, node, n, 0, bias);
  const auto weight = packed_weight(compiler, node, is_transposed, tail.bias);
  const Value x = compiler.get_real(node.inputs[0], Layout::kPlain);
  Chain chain(compiler, tail.result, Layout::kPlain, tail.result);
  chain.grow();
  const bool is_last = chain.empty() && !compiler.storage(tail.result).is_quantized();
  const int y = is_last ? compiler.define(tail.result, Layout::kPlain, real_storage()).buffer
                        : compiler.new_buffer(rows * n * sizeof(float));
  Step step = compiler.step_for(node, weight->kernel_name(), "float32");
  step.op += tail.names;
  step.macs = static_cast<std::int64_t>(rows * n * k);
  step.scratch_bytes = weight->scratch_bytes(rows, compiler.num_threads());
  step.reads = {x.buffer};
  step.writes = {y};
  step.run = [weight, rows, lo = tail.lo, hi = tail.hi, from = x.buffer, y](const Execution& e) {
    weight->run(e.context, rows, e.at<float>(from), lo, hi, e.at<float>(y), e.scratch);
  };
  compiler.emit(std::move(step));
  if (!is_last) {
    Chain::Compiled compiled = chain.compile();
    compiled.operands[0] = y;
    emit_chain(compiler, node, chain.names().empty() ? "" : "+" + chain.names(), compiled);
  }
}

}  // namespace qslim::runtime
