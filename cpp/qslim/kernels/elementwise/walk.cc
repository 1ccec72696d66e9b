// SPDX-License-Identifier: Apache-2.0
#include "qslim/kernels/elementwise/walk.h"

#include <algorithm>
#include <iterator>

namespace qslim {
namespace {

constexpr std::size_t kAxes = ElementwiseExtents::kAxes;
constexpr std::size_t kMaxOperands = Elementwise::kMaxOperands;

// Axes of extent 1 vanish; neighbours merge where every stride continues. With `keep_rows` the innermost axis
// stays as it is. Returns the number of axes, which may exceed kAxes (then only that many were written).
struct AxisMerger {
  std::size_t tensors;
  std::size_t axes = 0;
  std::size_t extent[2 * kAxes + 20];
  std::ptrdiff_t strides[2 * kAxes + 20][kMaxOperands + 1];

  void append(std::size_t axis_extent, const std::ptrdiff_t* axis_strides, bool may_merge) {
    if (may_merge && axes > 0) {
      bool continues = true;
      for (std::size_t t = 0; t < tensors; ++t) {
        continues &= strides[axes - 1][t] == axis_strides[t] * static_cast<std::ptrdiff_t>(axis_extent);
      }
      if (continues) {
        extent[axes - 1] *= axis_extent;
        std::copy_n(axis_strides, tensors, strides[axes - 1]);
        return;
      }
    }
    extent[axes] = axis_extent;
    std::copy_n(axis_strides, tensors, strides[axes]);
    ++axes;
  }
};

}  // namespace

ElementwiseWalk walk_of(const ElementwiseExtents& extents, std::size_t operands, bool keep_rows) noexcept {
  AxisMerger merger;
  merger.tensors = operands + 1;
  for (std::size_t axis = 0; axis < kAxes; ++axis) {
    const bool is_row = keep_rows && axis + 1 == kAxes;
    if (extents.extent[axis] == 1 && !is_row) continue;
    std::ptrdiff_t strides[kMaxOperands + 1];
    for (std::size_t t = 0; t < operands; ++t) strides[t] = extents.operand_strides[t][axis];
    strides[operands] = extents.result_strides[axis];
    merger.append(extents.extent[axis], strides, !is_row);
  }
  ElementwiseWalk walk;
  walk.operands = operands;
  const std::size_t skipped = kAxes - merger.axes;
  for (std::size_t axis = 0; axis < kAxes; ++axis) {
    walk.extent[axis] = axis < skipped ? 1 : merger.extent[axis - skipped];
    if (axis < skipped && axis + 2 < kAxes) continue;  // strides of outer axes of extent 1 are never read
    for (std::size_t t = 0; t <= operands; ++t) {
      walk.strides[t][axis] = axis < skipped ? 0 : merger.strides[axis - skipped][t];
    }
  }
  if (merger.axes == 0) walk.strides[operands][kAxes - 1] = 1;
  return walk;
}

std::size_t rows_of(const ElementwiseWalk& walk) noexcept {
  std::size_t rows = 1;
  for (std::size_t axis = 0; axis + 1 < kAxes; ++axis) rows *= walk.extent[axis];
  return rows;
}

ElementwiseExtents broadcast_extents(const std::vector<std::vector<std::size_t>>& shapes) {
  QSLIM_REQUIRE(!shapes.empty() && shapes.size() <= kMaxOperands, "broadcast_extents: operands must be 1 to ",
                kMaxOperands, ", got ", shapes.size());
  constexpr std::size_t kMaxRank = kAxes + 20;
  std::size_t rank = 0;
  for (const std::vector<std::size_t>& shape : shapes) rank = std::max(rank, shape.size());
  QSLIM_REQUIRE(rank <= kMaxRank, "broadcast_extents: rank must be at most ", kMaxRank, ", got ", rank);
  const auto extent_of = [rank](const std::vector<std::size_t>& shape, std::size_t axis) -> std::size_t {
    const std::size_t missing = rank - shape.size();
    return axis < missing ? 1 : shape[axis - missing];
  };
  std::size_t extent[kMaxRank];
  for (std::size_t axis = 0; axis < rank; ++axis) {
    extent[axis] = 1;
    for (const std::vector<std::size_t>& shape : shapes) {
      const std::size_t own = extent_of(shape, axis);
      if (own == 1) continue;
      QSLIM_REQUIRE(extent[axis] == 1 || extent[axis] == own, "broadcast_extents: axis ", axis,
                    " has extents ", extent[axis], " and ", own);
      extent[axis] = own;
    }
  }
  // Strides from the inner end, then merging from the outer one.
  std::ptrdiff_t strides[kMaxRank][kMaxOperands + 1] = {};
  std::ptrdiff_t step[kMaxOperands + 1];
  std::fill(std::begin(step), std::end(step), 1);
  for (std::size_t axis = rank; axis-- > 0;) {
    for (std::size_t t = 0; t <= shapes.size(); ++t) {
      const std::size_t own = t < shapes.size() ? extent_of(shapes[t], axis) : extent[axis];
      strides[axis][t] = t < shapes.size() && own == 1 ? 0 : step[t];
      step[t] *= static_cast<std::ptrdiff_t>(own);
    }
  }
  AxisMerger merger;
  merger.tensors = shapes.size() + 1;
  for (std::size_t axis = 0; axis < rank; ++axis) {
    if (extent[axis] != 1) merger.append(extent[axis], strides[axis], true);
  }
  QSLIM_REQUIRE(merger.axes <= kAxes, "broadcast_extents: ", merger.axes,
                " axes are left after merging, at most ", kAxes, " are possible");
  ElementwiseExtents extents;
  extents.operand_strides.assign(shapes.size(), std::vector<std::ptrdiff_t>(kAxes, 0));
  const std::size_t skipped = kAxes - merger.axes;
  for (std::size_t axis = 0; axis < merger.axes; ++axis) {
    extents.extent[skipped + axis] = merger.extent[axis];
    for (std::size_t t = 0; t < shapes.size(); ++t)
      extents.operand_strides[t][skipped + axis] = merger.strides[axis][t];
    extents.result_strides[skipped + axis] = merger.strides[axis][shapes.size()];
  }
  if (merger.axes == 0) extents.result_strides[kAxes - 1] = 1;
  return extents;
}

}  // namespace qslim
