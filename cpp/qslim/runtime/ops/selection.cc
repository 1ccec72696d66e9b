// SPDX-License-Identifier: Apache-2.0
//
// Gather, GatherElements, GatherND and TopK.
#include "qslim/kernels/select/select.h"

#include <cstring>

#include "qslim/kernels/movement/movement.h"
#include "qslim/kernels/weight_only/quantized_rows.h"
#include "qslim/runtime/lowering/conversions.h"
#include "qslim/runtime/ops/registry.h"

namespace qslim::runtime {
namespace {

// Indices as int64: `at` gives them, from the scratch memory of the step where they are int32.
struct Indices {
  int buffer;
  std::size_t count;
  bool is_wide;

  std::size_t scratch_bytes() const { return is_wide ? 0 : count * sizeof(std::int64_t); }
  const std::int64_t* at(const Execution& e) const {
    if (is_wide) return e.at<const std::int64_t>(buffer);
    auto* wide = reinterpret_cast<std::int64_t*>(e.scratch);
    const auto* narrow = e.at<const std::int32_t>(buffer);
    for (std::size_t i = 0; i < count; ++i) wide[i] = narrow[i];
    return wide;
  }
};

void require_indices(const InferContext& context, std::size_t i) {
  const DType dtype = context.input(i).dtype;
  context.require(dtype == DType::kInt64 || dtype == DType::kInt32, "indices must be int32 or int64");
}

Indices indices_of(Compiler& compiler, int id) {
  const Value value = compiler.get(id, Layout::kPlain);
  return {value.buffer, as_size(element_count(value.dims)), value.dtype == DType::kInt64};
}

// Return the places of the elements of the axes [first, last) of `part` in an array of extents `whole`.
std::vector<std::size_t> places_of(const Dims& part, const Dims& whole, std::size_t first, std::size_t last) {
  const Dims strides = strides_of(whole);
  std::vector<std::size_t> places = {0};
  for (std::size_t i = first; i < last; ++i) {
    std::vector<std::size_t> next;
    next.reserve(places.size() * as_size(part[i]));
    for (const std::size_t place : places) {
      for (std::int64_t at = 0; at < part[i]; ++at) next.push_back(place + as_size(at * strides[i]));
    }
    places = std::move(next);
  }
  return places;
}

// Return true if `x` is a constant matrix of integers whose rows, with their scales, can be looked up.
bool is_quantized_table(const Compiler& compiler, int x) {
  const Tensor& tensor = compiler.tensor(x);
  const auto& q = tensor.quantization;
  return tensor.is_constant() && tensor.shape->size() == 2 && q && q->fits_a_byte() && !q->is_unsigned() &&
         q->zero_point == 0 && (!q->quant_axis || *q->quant_axis == 0);
}

void emit_table_lookup(Compiler& compiler, const Node& node) {
  const int x = node.inputs[0], y = node.outputs[0];
  const Tensor& tensor = compiler.tensor(x);
  const Quantization& q = *tensor.quantization;
  QuantizedRows table;
  table.rows = as_size((*tensor.shape)[0]);
  table.width = as_size((*tensor.shape)[1]);
  table.is_narrow = tensor.is_packed;
  table.group_size = q.group_size;
  table.scale_stride = q.quant_axis ? q.groups_of(table.width) : 0;
  // The model's own memory: it outlives the plan's use of it, as the buffer keeps it.
  const std::shared_ptr<const void> data(compiler.model().storage, tensor.data);
  const std::size_t bytes = table.rows * (table.is_narrow ? (table.width + 1) / 2 : table.width);
  const int integers = compiler.constant_buffer(data, bytes);
  const Indices indices = indices_of(compiler, node.inputs[1]);
  const Value to = define_or_round_later(compiler, y, Layout::kPlain, real_storage());
  Step step =
      compiler.step_for(node, "gather_dequantized", table.is_narrow ? "int4->float32" : "int8->float32");
  step.reads = {integers, indices.buffer};
  step.writes = {to.buffer};
  step.scratch_bytes = indices.scratch_bytes();
  step.run = [table, indices, integers, scale = q.scale, r = to.buffer](const Execution& e) {
    QuantizedRows here = table;
    here.integers = e.at<const std::uint8_t>(integers);
    here.scale = scale.data();
    gather_dequantized(e.context, here, {indices.at(e), indices.count}, e.at<float>(r));
  };
  compiler.emit(std::move(step));
  round_if_needed(compiler, y, to);
}

std::size_t axis_of(const Node& node, std::int64_t fallback, std::int64_t rank) {
  return checked_axis(node, Attributes(node).integer("axis", fallback), rank);
}

}  // namespace

// ---- Gather ----

void infer_Gather(InferContext& context) {
  const std::size_t axis = context.axis(context.attributes.integer("axis", 0), context.rank(0));
  require_indices(context, 1);
  const Dims &x = context.dims(0), &i = context.dims(1);
  TensorFacts facts{
      Dims(x.begin(), x.begin() + static_cast<std::ptrdiff_t>(axis)), context.input(0).dtype, {}};
  facts.dims.insert(facts.dims.end(), i.begin(), i.end());
  facts.dims.insert(facts.dims.end(), x.begin() + static_cast<std::ptrdiff_t>(axis) + 1, x.end());
  if (context.input(1).integers) {
    const std::vector<std::int64_t>& indices = *context.input(1).integers;
    for (const std::int64_t index : indices) context.axis(index, x[axis]);
    if (context.input(0).integers && x.size() == 1) {
      facts.integers.emplace();
      for (const std::int64_t index : indices) {
        facts.integers->push_back((*context.input(0).integers)[context.axis(index, x[0])]);
      }
    }
  }
  context.set_output(0, std::move(facts));
}

bool splits_Gather(const InferContext& context) {
  const bool is_first = context.axis(context.attributes.integer("axis", 0), context.rank(0)) == 0;
  // Rows of a table for the indices of each image, or something of each image at indices that all share.
  return is_first ? !context.depends_on_input(0) && context.rank(1) > 0 : !context.depends_on_input(1);
}

void compile_Gather(Compiler& compiler, const Node& node) {
  const int x = node.inputs[0], y = node.outputs[0];
  const std::size_t axis = axis_of(node, 0, compiler.facts(x).rank());
  if (axis == 0 && is_quantized_table(compiler, x)) return emit_table_lookup(compiler, node);
  const Around a = around(compiler.dims(x), axis);
  const Value from = get_on_grid_of(compiler, x, y, Layout::kPlain);
  const Indices indices = indices_of(compiler, node.inputs[1]);
  const Value to = compiler.define(y, Layout::kPlain, from.storage);
  Step step = compiler.step_for(node, "gather", to.storage.is_quantized() ? "int8" : name_of(to.dtype));
  step.reads = {from.buffer, indices.buffer};
  step.writes = {to.buffer};
  step.scratch_bytes = indices.scratch_bytes();
  step.run = [=, size = size_of(to.dtype), p = from.buffer, r = to.buffer](const Execution& e) {
    gather(e.context, size, a.outer, a.axis, a.inner, e.at<void>(p), {indices.at(e), indices.count},
           e.at<void>(r));
  };
  compiler.emit(std::move(step));
}

// ---- GatherElements ----

void infer_GatherElements(InferContext& context) {
  const std::size_t axis = context.axis(context.attributes.integer("axis", 0), context.rank(0));
  require_indices(context, 1);
  const Dims &x = context.dims(0), &i = context.dims(1);
  context.require(x.size() == i.size(), "data and indices differ in rank");
  for (std::size_t a = 0; a < x.size(); ++a) {
    context.require(a == axis || i[a] <= x[a], "the indices have more rows than the data");
  }
  context.set_output(0, i, context.input(0).dtype);
}

bool splits_GatherElements(const InferContext& context) {
  return context.axis(context.attributes.integer("axis", 0), context.rank(0)) != 0 &&
         context.depends_on_input(0) && context.depends_on_input(1);
}

void compile_GatherElements(Compiler& compiler, const Node& node) {
  const int x = node.inputs[0], y = node.outputs[0];
  const Dims &whole = compiler.dims(x), &part = compiler.dims(y);
  const std::size_t axis = axis_of(node, 0, compiler.facts(x).rank());
  const Value from = get_plain(compiler, x);
  const Indices indices = indices_of(compiler, node.inputs[1]);
  const Value to = define_or_round_later(compiler, y, Layout::kPlain, real_storage());
  GatherElementsExtents extents;
  extents.axis = as_size(whole[axis]);
  extents.axis_stride = as_size(strides_of(whole)[axis]);
  extents.index_axis = as_size(part[axis]);
  Step step = compiler.step_for(node, "gather_elements", name_of(to.dtype));
  step.reads = {from.buffer, indices.buffer};
  step.writes = {to.buffer};
  step.scratch_bytes = indices.scratch_bytes();
  step.run = [=, size = size_of(to.dtype), outer = places_of(part, whole, 0, axis),
              inner = places_of(part, whole, axis + 1, part.size()), p = from.buffer,
              r = to.buffer](const Execution& e) {
    gather_elements(e.context, size, extents, outer, inner, e.at<void>(p), indices.at(e), e.at<void>(r));
  };
  compiler.emit(std::move(step));
  if (to.dtype == DType::kFloat32) round_if_needed(compiler, y, to);
}

// ---- GatherND ----

void infer_GatherND(InferContext& context) {
  require_indices(context, 1);
  context.require(context.attributes.integer("batch_dims", 0) == 0, "batch_dims is not supported");
  const Dims &x = context.dims(0), &i = context.dims(1);
  context.require(!i.empty() && i.back() >= 1 && i.back() <= context.rank(0),
                  "the last axis of the indices does not fit the data's rank");
  Dims dims(i.begin(), i.end() - 1);
  dims.insert(dims.end(), x.begin() + static_cast<std::ptrdiff_t>(i.back()), x.end());
  context.set_output(0, std::move(dims), context.input(0).dtype);
}

bool splits_GatherND(const InferContext& context) {
  return !context.depends_on_input(0) && context.rank(1) > 1;
}

void compile_GatherND(Compiler& compiler, const Node& node) {
  const int x = node.inputs[0], y = node.outputs[0];
  const Value from = get_plain(compiler, x);
  const Indices indices = indices_of(compiler, node.inputs[1]);
  const Value to = define_or_round_later(compiler, y, Layout::kPlain, real_storage());
  const std::size_t depth = as_size(compiler.dims(node.inputs[1]).back());
  const std::vector<std::int64_t> dims(from.dims.begin(),
                                       from.dims.begin() + static_cast<std::ptrdiff_t>(depth));
  const std::size_t inner = as_size(element_count(from.dims) / element_count(dims));
  Step step = compiler.step_for(node, "gather_nd", name_of(to.dtype));
  step.reads = {from.buffer, indices.buffer};
  step.writes = {to.buffer};
  step.scratch_bytes = indices.scratch_bytes();
  step.run = [=, size = size_of(to.dtype), p = from.buffer, r = to.buffer](const Execution& e) {
    gather_nd(e.context, size, dims, inner, indices.count / depth, e.at<void>(p), indices.at(e),
              e.at<void>(r));
  };
  compiler.emit(std::move(step));
  if (to.dtype == DType::kFloat32) round_if_needed(compiler, y, to);
}

// ---- TopK ----

void infer_TopK(InferContext& context) {
  const std::size_t axis = context.axis(context.attributes.integer("axis", -1), context.rank(0));
  context.require_real(0);
  const std::vector<std::int64_t>& k = context.integers(1);
  Dims dims = context.dims(0);
  context.require(k.size() == 1 && k[0] >= 1 && k[0] <= dims[axis], "k must be one number in [1, extent]");
  dims[axis] = k[0];
  context.set_output(0, dims, DType::kFloat32);
  context.set_output(1, std::move(dims), DType::kInt64);
}

bool splits_TopK(const InferContext& context) {
  return context.axis(context.attributes.integer("axis", -1), context.rank(0)) != 0;
}

void compile_TopK(Compiler& compiler, const Node& node) {
  const int x = node.inputs[0], y = node.outputs[0];
  const std::size_t axis = axis_of(node, -1, compiler.facts(x).rank());
  const Around a = around(compiler.dims(x), axis);
  const std::size_t k = as_size(compiler.dims(y)[axis]);
  const bool largest = Attributes(node).integer("largest", 1) != 0;
  const Value from = compiler.get_real(x, Layout::kPlain);
  const Value to = define_or_round_later(compiler, y, Layout::kPlain, real_storage());
  const bool has_places = node.outputs.size() > 1 && node.outputs[1] != kAbsent;
  const int places = has_places ? compiler.define(node.outputs[1], Layout::kPlain, real_storage()).buffer
                                : compiler.new_buffer(a.outer * k * a.inner * sizeof(std::int64_t));
  Step step = compiler.step_for(node, "top_k", "float32");
  step.reads = {from.buffer};
  step.writes = {to.buffer, places};
  step.scratch_bytes = a.axis * sizeof(std::int64_t);
  step.run = [=, p = from.buffer, q = to.buffer](const Execution& e) {
    top_k(a.outer, a.axis, a.inner, k, largest, e.at<float>(p), e.at<float>(q), e.at<std::int64_t>(places),
          reinterpret_cast<std::int64_t*>(e.scratch));
  };
  compiler.emit(std::move(step));
  round_if_needed(compiler, y, to);
}

}  // namespace qslim::runtime
