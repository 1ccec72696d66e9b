// SPDX-License-Identifier: Apache-2.0
//
// Recurrent layers in float32, one direction at a time, as ONNX has them:
//
//   a    = x[t] W^T + bw + h R^T + br        by gate, W [G * H, I], R [G * H, H], b = [bw, br] [2 * G * H]
//   RNN  h = tanh(a)                         or max(a, 0)
//   LSTM i, o, f, c~: c = sigmoid(f) * c + sigmoid(i) * tanh(c~), h = sigmoid(o) * tanh(c)
//   GRU  z, r, h~: h = (1 - z) * tanh(h~) + z * h, with h~ = x W^T + bw + r * (h R^T + br), or, without
//        linear_before_reset, x W^T + bw + (r * h) R^T + br
//
// x [T, N, I]; y [T, N, H], steps `y_stride` elements apart; h and c [N, H] hold the state before and after.
// Products sum as matmul_f32 does, so threads and instruction sets change no bit. Allocates nothing.
#pragma once

#include <cstddef>
#include <cstdint>

#include "qslim/core/context.h"

namespace qslim {

enum class Recurrence : std::uint8_t { kTanh, kRelu, kLstm, kGru };

struct RecurrentExtents {
  Recurrence kind = Recurrence::kTanh;
  std::size_t steps = 1, batch = 1, inputs = 1, hidden = 1;
  std::size_t y_stride = 1;
  bool is_reversed = false;         // begins at the last step
  bool linear_before_reset = true;  // of GRU
};

struct RecurrentWeights {
  const float* w;
  const float* r;
  const float* b;  // may be null
};

std::size_t gate_count(Recurrence kind) noexcept;
std::size_t recurrent_scratch_bytes(const RecurrentExtents& extents, std::size_t num_threads);

// LSTM alone reads c. scratch: recurrent_scratch_bytes bytes, on a cache line.
void recurrent_f32(Context& context, const RecurrentExtents& extents, const RecurrentWeights& weights,
                   const float* x, float* y, float* h, float* c, std::byte* scratch);

}  // namespace qslim
