// SPDX-License-Identifier: Apache-2.0
//
// Reductions over axes, and ArgMax. The mean over H and W of an image is a pooling.
#include <algorithm>

#include "qslim/runtime/ops/movement_steps.h"
#include "qslim/runtime/ops/pool_steps.h"
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
  TensorFacts facts{reduced_dims(context.dims(0), axes_of(context), keeps), context.input(0).dtype, std::nullopt};
  if (context.node().op_type == "ReduceProd" && context.input(0).integers && element_count(facts.dims) == 1) {
    std::int64_t product = 1;
    bool overflows = false;
    for (const std::int64_t v : *context.input(0).integers) {
      overflows = overflows || __builtin_mul_overflow(product, v, &product);
    }
    if (!overflows) facts.integers = std::vector<std::int64_t>{product};
  }
  context.set_output(0, std::move(facts));
}

bool splits_reduction(const InferContext& context) { return axes_of(context).front() != 0; }

}  // namespace
}  // namespace qslim::runtime
