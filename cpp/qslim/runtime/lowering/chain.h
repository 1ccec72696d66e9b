// SPDX-License-Identifier: Apache-2.0
//
// Chain: neighbouring elementwise nodes fused into one program. It may begin with a convolution's result,
// which then never reaches memory in float32.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "qslim/kernels/elementwise/elementwise.h"
#include "qslim/runtime/lowering/compiler.h"

namespace qslim::runtime {

// Return true if the operator computes each element of the result from the elements at its place.
bool is_elementwise(const Node& node);
// Return true if it is one of two operands, by name.
bool is_binary_operator(const std::string& op_type);

class Chain {
 public:
  // Begin with tensor `start`, computed by the caller's own kernel as contiguous float rows, or with nothing.
  Chain(Compiler& compiler, int result, Layout layout, std::optional<int> start);

  // Add `node`, whose result has the chain's extents; return false, with nothing changed, if it cannot be
  // part of it.
  bool add(const Node& node);
  // Add all following nodes that can be fused.
  void grow();
  // Add x -> min(max(x, lo), hi).
  void clamp(float lo, float hi);

  bool empty() const noexcept { return steps_.empty(); }
  int result() const noexcept { return result_; }
  const std::string& names() const noexcept { return names_; }

  // min(max(start + operand, lo), hi), the operand of the start's shape and of bytes.
  struct Sum {
    ElementwiseType operand;
    int buffer;
    float lo, hi;
  };
  // Return it if that is all that the chain computes.
  std::optional<Sum> as_sum() const;

  // Return true if HardSwish of the start is all that the chain computes.
  bool is_hard_swish() const;

  // The program and the buffers of its operands, for runs.
  struct Compiled {
    Elementwise program;
    ElementwiseExtents extents;
    std::vector<int> operands;  // buffers; the first one is not read if the chain has a start
    Value result;
  };
  // Define the result, in its storage, and return the program.
  Compiled compile();

 private:
  struct Operand {
    int tensor;
    Value value;
    std::vector<std::size_t> memory_shape;
  };
  std::optional<std::size_t> find_register(int tensor) const;
  std::optional<Operand> operand_for(int tensor) const;
  bool add_diamond();

  Compiler& compiler_;
  int result_;
  Layout layout_;
  bool has_start_;
  std::vector<Operand> operands_;
  std::vector<ElementwiseStep> steps_;  // registers count operands from 0 and steps from kFirstStep
  std::vector<std::pair<int, std::size_t>> registers_;
  std::string names_;
};

// Run a compiled chain over all of its operands.
void run_chain(const Chain::Compiled& chain, const Execution& execution);

}  // namespace qslim::runtime
