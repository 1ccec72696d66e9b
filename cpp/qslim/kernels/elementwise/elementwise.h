// SPDX-License-Identifier: Apache-2.0
//
// Elementwise programs: any chain of unary and binary operations with broadcasting, in one pass over memory.
//
// Operands are float32 or stored uint8 (real value (q - zero_point) * scale), and so is the result
// (q = clamp(round_half_even(r * (1 / scale)) + zero_point, qmin, qmax), the rule of kernels/quantize).
// Between the two everything is float32, one IEEE operation after another, no fused multiply-add, so each
// instruction set gives the same bits. The elementary functions (exp, tanh, erf, ...) are our own polynomials
// for the same reason; the header of formulas/elementary.h gives their errors.
//
// A program of one uint8 operand without broadcasting and a uint8 result runs as a table of 256 entries that
// the program itself fills.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "qslim/core/context.h"
#include "qslim/core/dtype.h"
#include "qslim/core/span.h"
#include "qslim/formulas/elementwise_op.h"

namespace qslim {

// Registers: the operands come first (0, 1, ...), then each step writes the next one. The last step's
// register is the result.
struct ElementwiseStep {
  ElementwiseOp op;
  std::uint8_t a = 0, b = 0;
  float p = 0, q = 0;
};

struct ElementwiseType {
  DType dtype = DType::kFloat32;                      // or kUint8
  float scale = 1;                                    // uint8 only
  std::int32_t zero_point = 0, qmin = 0, qmax = 255;  // stored values
};

// The result's shape and how far each operand moves along each of its axes, in elements; 0 broadcasts. The
// result is contiguous but for its row stride. Axis kAxes - 1 is the innermost; unused axes have extent 1.
struct ElementwiseExtents {
  static constexpr std::size_t kAxes = 6;
  std::size_t extent[kAxes] = {1, 1, 1, 1, 1, 1};
  std::vector<std::vector<std::ptrdiff_t>> operand_strides;   // [operands][kAxes]
  std::ptrdiff_t result_strides[kAxes] = {0, 0, 0, 0, 0, 0};  // innermost 1
};

// Extents of operands that broadcast as NumPy arrays do, `shapes` row-major as they lie in memory, equal
// neighbouring axes merged. Throws InvalidArgument where they do not broadcast or need more than kAxes axes.
ElementwiseExtents broadcast_extents(const std::vector<std::vector<std::size_t>>& shapes);

class Elementwise {
 public:
  static constexpr std::size_t kMaxOperands = 8, kMaxSteps = 24;

  Elementwise(Isa isa, std::vector<ElementwiseType> operands, std::vector<ElementwiseStep> steps,
              ElementwiseType result);

  // Allocates nothing.
  void run(Context& context, const ElementwiseExtents& extents, Span<const void* const> operands,
           void* result) const;

  // Rows [first_row, first_row + rows) alone, where a row is the innermost axis and rows are counted over the
  // outer axes in order; on the calling thread. `first_operand`, if not null, replaces operand 0: float
  // rows that follow each other without gaps, beginning with first_row.
  void run_rows(const ElementwiseExtents& extents, Span<const void* const> operands, void* result,
                std::size_t first_row, std::size_t rows, const float* first_operand = nullptr) const noexcept;

  const char* kernel_name() const noexcept;  // "elementwise_avx2", "lut_u8_avx2"

 private:
  struct Impl;
  std::shared_ptr<const Impl> impl_;
};

}  // namespace qslim
