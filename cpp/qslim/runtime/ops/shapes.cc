// SPDX-License-Identifier: Apache-2.0
//
// Operators that compute extents: their results are known before the network runs.
#include <algorithm>

#include "qslim/runtime/lowering/compiler.h"
#include "qslim/runtime/lowering/conversions.h"
#include "qslim/runtime/ops/registry.h"

namespace qslim::runtime {
namespace {

constexpr std::int64_t kMaxBound = std::int64_t{1} << 40;

[[noreturn]] void refuse(const Node& node) {
  throw InvalidArgument(concatenate(node.op_type, " '", node.label,
                                    "': is only supported where it works out shapes, not on data"));
}

}  // namespace

void infer_Shape(InferContext& context) {
  const Dims& x = context.dims(0);
  const std::int64_t rank = context.rank(0);
  const auto place = [&](const char* name, std::int64_t fallback) {
    const std::int64_t given = context.attributes.integer(name, fallback);
    return std::clamp<std::int64_t>(given < 0 ? given + rank : given, 0, rank);
  };
  const std::int64_t begin = place("start", 0), end = std::max(begin, place("end", rank));
  context.set_output(0, TensorFacts{{end - begin}, DType::kInt64, Dims(x.begin() + begin, x.begin() + end)});
}
bool splits_Shape(const InferContext&) { return true; }
void compile_Shape(Compiler&, const Node& node) { refuse(node); }

void infer_Range(InferContext& context) {
  std::int64_t bounds[3];
  for (std::size_t i = 0; i < 3; ++i) {
    const std::vector<std::int64_t>& value = context.integers(i);
    context.require(value.size() == 1 && value[0] > -kMaxBound && value[0] < kMaxBound,
                    "a bound is out of range");
    bounds[i] = value[0];
  }
  const auto [start, limit, delta] = bounds;
  context.require(delta != 0, "a step of 0");
  std::vector<std::int64_t> values;
  for (std::int64_t v = start; delta > 0 ? v < limit : v > limit; v += delta) {
    context.require(values.size() < 4096, "more than 4096 values");
    values.push_back(v);
  }
  const auto count = static_cast<std::int64_t>(values.size());
  context.set_output(0, TensorFacts{{count}, DType::kInt64, std::move(values)});
}
bool splits_Range(const InferContext&) { return true; }
void compile_Range(Compiler&, const Node& node) { refuse(node); }

void infer_ConstantOfShape(InferContext& context) {
  const Dims dims = context.integers(0);
  std::int64_t count = 1;
  for (const std::int64_t extent : dims) {
    context.require(extent >= 0 && extent <= 4096, "an extent is out of range");
    count *= extent;
    context.require(count <= 4096, "more than 4096 elements");
  }
  const auto value = context.attributes.integer("value", 0);
  context.set_output(
      0, TensorFacts{dims, DType::kInt64, std::vector<std::int64_t>(static_cast<std::size_t>(count), value)});
}
bool splits_ConstantOfShape(const InferContext&) { return true; }
void compile_ConstantOfShape(Compiler&, const Node& node) { refuse(node); }

}  // namespace qslim::runtime
