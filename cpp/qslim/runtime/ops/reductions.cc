// SPDX-License-Identifier: Apache-2.0
//
// Reductions over axes, ArgMax and CumSum. The mean over H and W of an image is a pooling.
#include <algorithm>
#include <type_traits>

#include "qslim/kernels/axis_reductions/axis_reductions.h"
#include "qslim/kernels/select/select.h"
#include "qslim/runtime/lowering/conversions.h"
#include "qslim/runtime/lowering/pooling.h"
#include "qslim/runtime/ops/registry.h"

namespace qslim::runtime {
namespace {

// Sorted axes; all of them if none is named.
std::vector<std::size_t> axes_of(const InferContext& context) {
  std::vector<std::size_t> axes;
  for (const std::int64_t axis : context.integers_or(1, "axes")) {
    axes.push_back(context.axis(axis, context.rank(0)));
  }
  if (axes.empty()) {
    for (std::size_t i = 0; i < context.dims(0).size(); ++i) axes.push_back(i);
  }
  std::sort(axes.begin(), axes.end());
  axes.erase(std::unique(axes.begin(), axes.end()), axes.end());
  return axes;
}

Dims reduced_dims(const Dims& x, const std::vector<std::size_t>& axes, bool keeps) {
  Dims dims;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const bool is_reduced = std::find(axes.begin(), axes.end(), i) != axes.end();
    if (!is_reduced) dims.push_back(x[i]);
    if (is_reduced && keeps) dims.push_back(1);
  }
  return dims;
}

void infer_reduction(InferContext& context) {
  const bool keeps = context.attributes.integer("keepdims", 1) != 0;
  TensorFacts facts{reduced_dims(context.dims(0), axes_of(context), keeps), context.input(0).dtype,
                    std::nullopt};
  if (context.node().op_type == "ReduceProd" && context.input(0).integers && element_count(facts.dims) == 1) {
    std::int64_t product = 1;
    bool overflows = false;
    for (const std::int64_t v : *context.input(0).integers) {
      overflows = overflows || __builtin_mul_overflow(product, v, &product);
    }
    if (!overflows) facts.integers = std::vector<std::int64_t>{product};
  }
  const bool counts = facts.dtype == DType::kInt32 || facts.dtype == DType::kInt64;
  if (!facts.integers && (!counts || context.node().op_type == "ReduceMean")) context.require_real(0);
  context.set_output(0, std::move(facts));
}

bool splits_reduction(const InferContext& context) {
  const std::vector<std::size_t> axes = axes_of(context);
  return !axes.empty() && axes.front() != 0;
}

// x brought into the order [kept axes, reduced axes], if its reduced axes are not neighbours at the end
// already.
struct Grouped {
  Value value;
  std::size_t outer = 1, axis = 1, inner = 1;
};

Grouped grouped(Compiler& compiler, const Node& node, const std::vector<std::size_t>& axes) {
  const bool is_real = compiler.facts(node.inputs[0]).dtype == DType::kFloat32;
  const Value from = is_real ? compiler.get_real(node.inputs[0], Layout::kPlain)
                             : compiler.get(node.inputs[0], Layout::kPlain);
  Grouped g{from, 1, 1, 1};
  const bool are_neighbours = axes.back() - axes.front() + 1 == axes.size();
  if (are_neighbours) {
    for (std::size_t i = 0; i < from.dims.size(); ++i) {
      const auto extent = static_cast<std::size_t>(from.dims[i]);
      (i < axes.front() ? g.outer : i <= axes.back() ? g.axis : g.inner) *= extent;
    }
    return g;
  }
  Copy copy;
  const Dims source = strides_of(from.dims);
  for (const bool reduced : {false, true}) {
    for (std::size_t i = 0; i < from.dims.size(); ++i) {
      if ((std::find(axes.begin(), axes.end(), i) != axes.end()) != reduced) continue;
      copy.extents.push_back(from.dims[i]);
      copy.source_strides.push_back(source[i]);
      (reduced ? g.axis : g.outer) *= static_cast<std::size_t>(from.dims[i]);
    }
  }
  copy.target_strides = strides_of(copy.extents);
  g.value.buffer = compiler.new_buffer(from.bytes());
  Step step = compiler.step_for(node, "strided_copy", name_of(from.dtype));
  step.reads = {from.buffer};
  step.writes = {g.value.buffer};
  emit_copy(compiler, std::move(step), from, g.value, copy);
  return g;
}

// Of integers that are data (a count of masks); sums and products wrap around.
template <class T>
void reduce_integers(ReduceOp op, const Grouped& g, const T* x, T* y) {
  using U = std::make_unsigned_t<T>;
  for (std::size_t o = 0; o < g.outer; ++o) {
    for (std::size_t n = 0; n < g.inner; ++n) {
      const T* const lane = x + o * g.axis * g.inner + n;
      T result = lane[0];
      for (std::size_t i = 1; i < g.axis; ++i) {
        const T value = lane[i * g.inner];
        switch (op) {
          case ReduceOp::kSum: result = static_cast<T>(static_cast<U>(result) + static_cast<U>(value)); break;
          case ReduceOp::kProd:
            result = static_cast<T>(static_cast<U>(result) * static_cast<U>(value));
            break;
          case ReduceOp::kMax: result = std::max(result, value); break;
          default: result = std::min(result, value);
        }
      }
      y[o * g.inner + n] = result;
    }
  }
}

void compile_reduction(Compiler& compiler, const Node& node, ReduceOp op) {
  const int x = node.inputs[0], y = node.outputs[0];
  const std::vector<std::size_t> axes = compiler.with_context(node, axes_of);
  const bool is_image_mean = op == ReduceOp::kMean && compiler.dims(x).size() == 4 &&
                             axes == std::vector<std::size_t>{2, 3} &&
                             compiler.layout_of(x) == Layout::kChannelsLast;
  if (is_image_mean) {
    emit_global_average(compiler, node);
    return;
  }
  if (axes.empty()) {  // a scalar
    emit_view(compiler, node, y, Layout::kPlain, compiler.get(x, Layout::kPlain));
    return;
  }
  const Grouped g = grouped(compiler, node, axes);
  if (g.value.dtype != DType::kFloat32) {
    const Value counts = compiler.define(y, Layout::kPlain, real_storage());
    Step step = compiler.step_for(node, "reduce_integers", name_of(counts.dtype));
    step.reads = {g.value.buffer};
    step.writes = {counts.buffer};
    step.run = [op, g, r = counts.buffer, is_wide = counts.dtype == DType::kInt64](const Execution& e) {
      if (is_wide) {
        reduce_integers(op, g, e.at<const std::int64_t>(g.value.buffer), e.at<std::int64_t>(r));
      } else {
        reduce_integers(op, g, e.at<const std::int32_t>(g.value.buffer), e.at<std::int32_t>(r));
      }
    };
    compiler.emit(std::move(step));
    return;
  }
  const Value to = define_or_round_later(compiler, y, Layout::kPlain, real_storage());
  Step step = compiler.step_for(node, "reduce_axes", "float32");
  step.reads = {g.value.buffer};
  step.writes = {to.buffer};
  step.run = [op, g, r = to.buffer](const Execution& e) {
    reduce_axes(e.context, op, g.outer, g.axis, g.inner, e.at<float>(g.value.buffer), e.at<float>(r));
  };
  compiler.emit(std::move(step));
  round_if_needed(compiler, y, to);
}

}  // namespace

#define QSLIM_REDUCTION(Name, op)                                                       \
  void infer_##Name(InferContext& context) { infer_reduction(context); }                \
  bool splits_##Name(const InferContext& context) { return splits_reduction(context); } \
  void compile_##Name(Compiler& compiler, const Node& node) { compile_reduction(compiler, node, op); }

QSLIM_REDUCTION(ReduceMax, ReduceOp::kMax)
QSLIM_REDUCTION(ReduceMean, ReduceOp::kMean)
QSLIM_REDUCTION(ReduceMin, ReduceOp::kMin)
QSLIM_REDUCTION(ReduceProd, ReduceOp::kProd)
QSLIM_REDUCTION(ReduceSum, ReduceOp::kSum)

void infer_ArgMax(InferContext& context) {
  const std::size_t axis = context.axis(context.attributes.integer("axis", 0), context.rank(0));
  const bool keeps = context.attributes.integer("keepdims", 1) != 0;
  context.require_real(0);
  context.set_output(0, reduced_dims(context.dims(0), {axis}, keeps), DType::kInt64);
}

bool splits_ArgMax(const InferContext& context) {
  return context.axis(context.attributes.integer("axis", 0), context.rank(0)) != 0;
}

void compile_ArgMax(Compiler& compiler, const Node& node) {
  const int y = node.outputs[0];
  const std::size_t axis =
      checked_axis(node, Attributes(node).integer("axis", 0), compiler.facts(node.inputs[0]).rank());
  const Grouped g = grouped(compiler, node, {axis});
  const Value to = compiler.define(y, Layout::kPlain, real_storage());
  const bool last = Attributes(node).integer("select_last_index", 0) != 0;
  Step step = compiler.step_for(node, "argmax", "float32");
  step.reads = {g.value.buffer};
  step.writes = {to.buffer};
  step.run = [g, last, r = to.buffer](const Execution& e) {
    argmax(e.context, g.outer, g.axis, g.inner, e.at<float>(g.value.buffer), e.at<std::int64_t>(r), last);
  };
  compiler.emit(std::move(step));
}

// ---- CumSum ----

void infer_CumSum(InferContext& context) {
  const std::vector<std::int64_t>& axis = context.integers(1);
  context.require(axis.size() == 1, "expected one axis");
  context.axis(axis[0], context.rank(0));
  const DType dtype = context.input(0).dtype;
  context.require(dtype == DType::kFloat32 || dtype == DType::kInt32 || dtype == DType::kInt64,
                  "is supported on float32, int32 and int64");
  context.set_output(0, context.dims(0), dtype);
}

bool splits_CumSum(const InferContext& context) {
  return context.axis(context.integers(1)[0], context.rank(0)) != 0;
}

void compile_CumSum(Compiler& compiler, const Node& node) {
  const int x = node.inputs[0], y = node.outputs[0];
  const std::size_t axis =
      checked_axis(node, (*compiler.facts(node.inputs[1]).integers)[0], compiler.facts(x).rank());
  const Around a = around(compiler.dims(x), axis);
  const Value from = get_plain(compiler, x);
  const Value to = define_or_round_later(compiler, y, Layout::kPlain, real_storage());
  const bool exclusive = Attributes(node).integer("exclusive", 0) != 0,
             reverse = Attributes(node).integer("reverse", 0) != 0;
  Step step = compiler.step_for(node, "cumulative_sum", name_of(to.dtype));
  step.reads = {from.buffer};
  step.writes = {to.buffer};
  step.run = [=, dtype = to.dtype, p = from.buffer, q = to.buffer](const Execution& e) {
    cumulative_sum(e.context, dtype, a.outer, a.axis, a.inner, exclusive, reverse, e.at<void>(p),
                   e.at<void>(q));
  };
  compiler.emit(std::move(step));
  if (to.dtype == DType::kFloat32) round_if_needed(compiler, y, to);
}

}  // namespace qslim::runtime
