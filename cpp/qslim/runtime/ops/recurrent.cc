// SPDX-License-Identifier: Apache-2.0
//
// RNN, LSTM and GRU, in float32.
//
//   inputs   X [T, N, I], W [D, G * H, I], R [D, G * H, H], B [D, 2 * G * H], sequence_lens (absent),
//            initial_h [D, N, H], initial_c [D, N, H] of LSTM; what is absent is zero
//   outputs  Y [T, D, N, H], Y_h [D, N, H], Y_c [D, N, H] of LSTM; each may be absent but the first
//
// D is 2 for direction "bidirectional", else 1. Activations are the default ones, or RNN's Relu.
#include "qslim/kernels/recurrent/recurrent.h"

#include <cstring>

#include "qslim/runtime/lowering/conversions.h"
#include "qslim/runtime/ops/registry.h"

namespace qslim::runtime {
namespace {

struct Recurrent {
  RecurrentExtents extents;
  std::size_t directions = 1;
};

Recurrence kind_of(const InferContext& context) {
  const std::string& name = context.node().op_type;
  const std::vector<std::string> activations = context.attributes.texts("activations");
  if (name != "RNN") {
    context.require(activations.empty(), "activations other than the default ones are not supported");
    return name == "LSTM" ? Recurrence::kLstm : Recurrence::kGru;
  }
  const std::string first = activations.empty() ? "Tanh" : activations[0];
  for (const std::string& other : activations) context.require(other == first, "the activations differ");
  context.require(first == "Tanh" || first == "Relu", "the activations are Tanh and Relu");
  return first == "Relu" ? Recurrence::kRelu : Recurrence::kTanh;
}

Recurrent recurrent_of(const InferContext& context) {
  for (std::size_t i = 0; i < context.input_count(); ++i) {
    if (context.has_input(i) && i != 4) context.require_real(i);
  }
  context.require(context.rank(0) == 3 && context.rank(1) == 3 && context.rank(2) == 3,
                  "expected X, W and R of three axes");
  context.require(!context.has_input(4), "sequence_lens is not supported");
  context.require(!context.has_input(7), "peepholes are not supported");
  context.require(context.attributes.integer("layout", 0) == 0, "only layout 0 is supported");
  const std::string direction = context.attributes.text("direction", "forward");
  const bool is_both = direction == "bidirectional";
  context.require(is_both || direction == "forward" || direction == "reverse",
                  "the directions are forward, reverse and bidirectional");
  Recurrent r;
  RecurrentExtents& e = r.extents;
  const Dims& x = context.dims(0);
  e.kind = kind_of(context);
  r.directions = is_both ? 2 : 1;
  e.steps = as_size(x[0]);
  e.batch = as_size(x[1]);
  e.inputs = as_size(x[2]);
  e.hidden = as_size(context.dims(2)[2]);
  e.is_reversed = direction == "reverse";
  e.linear_before_reset = context.attributes.integer("linear_before_reset", 0) != 0;
  e.y_stride = r.directions * e.batch * e.hidden;
  const auto directions = static_cast<std::int64_t>(r.directions);
  const std::int64_t hidden = context.dims(2)[2];
  const std::int64_t gates = static_cast<std::int64_t>(gate_count(e.kind)) * hidden;
  context.require(context.attributes.integer("hidden_size", hidden) == hidden && hidden > 0,
                  "hidden_size does not fit R");
  context.require(
      context.dims(1) == Dims{directions, gates, x[2]} && context.dims(2) == Dims{directions, gates, hidden},
      "W or R does not fit X, hidden_size and the directions");
  context.require(!context.has_input(3) || context.dims(3) == Dims{directions, 2 * gates},
                  "B does not fit hidden_size and the directions");
  for (const std::size_t i : {5, 6}) {
    context.require(!context.has_input(i) || context.dims(i) == Dims{directions, x[1], hidden},
                    "an initial state does not fit X, hidden_size and the directions");
  }
  context.require(e.kind == Recurrence::kLstm || !context.has_input(6), "initial_c is LSTM's alone");
  return r;
}

void infer_recurrent(InferContext& context) {
  const Recurrent r = recurrent_of(context);
  const auto directions = static_cast<std::int64_t>(r.directions);
  const Dims& x = context.dims(0);
  const Dims state = {directions, x[1], context.dims(2)[2]};
  context.set_output(0, {x[0], directions, x[1], state[2]}, DType::kFloat32);
  context.set_output(1, state, DType::kFloat32);
  if (r.extents.kind == Recurrence::kLstm) context.set_output(2, state, DType::kFloat32);
}

void compile_recurrent(Compiler& compiler, const Node& node) {
  const Recurrent r = compiler.with_context(node, recurrent_of);
  const bool is_lstm = r.extents.kind == Recurrence::kLstm;
  const std::size_t state_size = r.extents.batch * r.extents.hidden;
  const std::size_t state_bytes = r.directions * state_size * sizeof(float);
  const auto input = [&](std::size_t i) {
    const bool is_there = i < node.inputs.size() && node.inputs[i] != kAbsent;
    return is_there ? compiler.get_real(node.inputs[i], Layout::kPlain).buffer : -1;
  };
  const int x = input(0), w = input(1), weights_r = input(2), b = input(3), h0 = input(5), c0 = input(6);
  std::vector<Value> results;
  const auto result = [&](std::size_t i) {
    if (i >= node.outputs.size() || node.outputs[i] == kAbsent) return compiler.new_buffer(state_bytes);
    results.push_back(define_or_round_later(compiler, node.outputs[i], Layout::kPlain, real_storage()));
    return results.back().buffer;
  };
  const int y = result(0), h = result(1), c = is_lstm ? result(2) : -1;
  Step step = compiler.step_for(node, "recurrent_f32", "float32");
  for (const int buffer : {x, w, weights_r, b, h0, c0}) {
    if (buffer >= 0) step.reads.push_back(buffer);
  }
  step.writes = {y, h};
  if (is_lstm) step.writes.push_back(c);
  const RecurrentExtents& e = r.extents;
  const std::size_t gates = gate_count(e.kind) * e.hidden;
  step.macs = static_cast<std::int64_t>(r.directions * e.steps * e.batch * gates * (e.inputs + e.hidden));
  step.scratch_bytes = recurrent_scratch_bytes(e, compiler.num_threads());
  step.run = [=](const Execution& execution) {
    const auto at = [&](int buffer, std::size_t offset) {
      return buffer < 0 ? nullptr : execution.at<float>(buffer) + offset;
    };
    for (const auto& [initial, state] : {std::pair{h0, h}, std::pair{c0, c}}) {
      if (state < 0) continue;
      if (initial < 0) {
        std::memset(at(state, 0), 0, state_bytes);
      } else {
        std::memcpy(at(state, 0), at(initial, 0), state_bytes);
      }
    }
    for (std::size_t d = 0; d < r.directions; ++d) {
      RecurrentExtents one = r.extents;
      one.is_reversed = one.is_reversed || d == 1;
      recurrent_f32(
          execution.context, one,
          {at(w, d * gates * one.inputs), at(weights_r, d * gates * one.hidden), at(b, d * 2 * gates)},
          at(x, 0), at(y, d * state_size), at(h, d * state_size), at(c, d * state_size), execution.scratch);
    }
  };
  compiler.emit(std::move(step));
  std::size_t next = 0;
  for (std::size_t i = 0; i < node.outputs.size() && i < 3; ++i) {
    if (node.outputs[i] != kAbsent && next < results.size())
      round_if_needed(compiler, node.outputs[i], results[next++]);
  }
}

}  // namespace

// Axis 0 is time.
#define QSLIM_RECURRENT(Name)                                            \
  void infer_##Name(InferContext& context) { infer_recurrent(context); } \
  bool splits_##Name(const InferContext&) { return false; }              \
  void compile_##Name(Compiler& compiler, const Node& node) { compile_recurrent(compiler, node); }

QSLIM_RECURRENT(GRU)
QSLIM_RECURRENT(LSTM)
QSLIM_RECURRENT(RNN)

}  // namespace qslim::runtime
