// SPDX-License-Identifier: Apache-2.0
//
// Elementwise operators on elements that need not be float: comparisons, logic, arithmetic of integers,
// choices and conversions. They work on masks and indices, a small part of any network: plain loops.
//
//   binary   y[i] = a[i] op b[i], operands broadcast; comparisons and logic write bytes 0 and 1
//   where    y[i] = condition[i] != 0 ? a[i] : b[i]
//   cast     float to integer towards zero, NaN to 0, a number out of range to the nearest bound
//
// Arithmetic of integers wraps around. Division rounds towards zero and mod has the divisor's sign, as ONNX
// has them; both give 0 for a divisor of 0. Nothing is aligned, nothing is allocated.
#pragma once

#include <cstddef>
#include <cstdint>

#include "qslim/core/context.h"
#include "qslim/core/dtype.h"
#include "qslim/kernels/elementwise/elementwise.h"

namespace qslim {

enum class TypedOp : std::uint8_t {
  kEqual,
  kGreater,
  kGreaterOrEqual,
  kLess,
  kLessOrEqual,
  kAnd,  // of bytes
  kOr,
  kXor,
  kAdd,  // of integers
  kSub,
  kMul,
  kDiv,
  kMod,
  kMax,
  kMin,
};

// Extents of two operands; both have elements of `dtype`. Throws InvalidArgument for an operation
// that is not defined on the type (a sum of bytes, the logic of floats).
void typed_binary(Context& context, TypedOp op, DType dtype, const ElementwiseExtents& extents, const void* a,
                  const void* b, void* y);

// Extents of three operands. element_size is 1, 4 or 8 bytes.
void typed_where(Context& context, std::size_t element_size, const ElementwiseExtents& extents,
                 const std::uint8_t* condition, const void* a, const void* b, void* y);

void typed_cast(Context& context, std::size_t n, DType from, const void* x, DType to, void* y);

}  // namespace qslim
