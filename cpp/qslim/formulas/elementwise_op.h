// SPDX-License-Identifier: Apache-2.0
//
// The operations of elementwise programs, of formulas/elementwise.inc. A NaN goes through all of them.
// Included by per-ISA files: plain declarations only.
#pragma once

#include <cstdint>

namespace qslim {

enum class ElementwiseOp : std::uint8_t {
#define QSLIM_ELEMENTWISE_UNARY(Name, ...) k##Name,
#define QSLIM_ELEMENTWISE_UNARY_ALPHA_BETA(Name, ...) k##Name,
#define QSLIM_ELEMENTWISE_BINARY(Name, ...) k##Name,
#define QSLIM_ELEMENTWISE_STEP(Name, ...) k##Name,
#include "qslim/formulas/elementwise.inc"
};

// A row of formulas/elementwise.inc.
struct ElementwiseRow {
  const char* name;
  ElementwiseOp op;
  bool is_operator;     // of the engine, under that name
  bool is_binary;       // reads two elements
  bool has_alpha_beta;  // its parameters are attributes of these names
  double alpha, beta;   // their defaults
};

constexpr ElementwiseRow kElementwiseRows[] = {
#define QSLIM_ELEMENTWISE_UNARY(Name, ...) {#Name, ElementwiseOp::k##Name, true, false, false, 0, 0},
#define QSLIM_ELEMENTWISE_UNARY_ALPHA_BETA(Name, alpha, beta, ...) \
  {#Name, ElementwiseOp::k##Name, true, false, true, alpha, beta},
#define QSLIM_ELEMENTWISE_BINARY(Name, ...) {#Name, ElementwiseOp::k##Name, true, true, false, 0, 0},
#define QSLIM_ELEMENTWISE_STEP(Name, ...) {#Name, ElementwiseOp::k##Name, false, false, false, 0, 0},
#include "qslim/formulas/elementwise.inc"
};

// The rows are in the order of the enumeration.
constexpr bool is_binary(ElementwiseOp op) noexcept {
  return kElementwiseRows[static_cast<std::uint8_t>(op)].is_binary;
}

}  // namespace qslim
