// SPDX-License-Identifier: Apache-2.0
#include "qslim/kernels/recurrent/recurrent.h"

#include <algorithm>
#include <cstring>

#include "qslim/formulas/elementary.h"
#include "qslim/kernels/matmul_f32/matmul_f32.h"

namespace qslim {
namespace {

constexpr std::size_t kLine = 64;  // bytes

std::size_t padded(std::size_t bytes) { return (bytes + kLine - 1) / kLine * kLine; }

// [rows, k] times [n, k] transposed.
MatmulExtents product_of(std::size_t rows, std::size_t n, std::size_t k) {
  return contiguous_matmul_extents(1, 1, rows, n, k, /*a_transposed=*/false, /*b_transposed=*/true);
}

// Scratch memory in its order: products with W of all steps, products with R of one, what r lets through of
// h, and the multiplication's own.
struct Layout {
  Layout(const RecurrentExtents& e, std::size_t num_threads) {
    const std::size_t gates = gate_count(e.kind) * e.hidden;
    recurrent = padded(e.steps * e.batch * gates * sizeof(float));
    gated = recurrent + padded(e.batch * gates * sizeof(float));
    product = gated + padded(e.batch * e.hidden * sizeof(float));
    const std::size_t own =
        std::max({matmul_f32_scratch_bytes(product_of(e.steps * e.batch, gates, e.inputs), num_threads),
                  matmul_f32_scratch_bytes(product_of(e.batch, gates, e.hidden), num_threads),
                  matmul_f32_scratch_bytes(product_of(e.batch, e.hidden, e.hidden), num_threads)});
    bytes = product + padded(own);
  }
  std::size_t recurrent, gated, product, bytes;
};

void add_bias(std::size_t rows, std::size_t n, const float* bias, float* x) {
  if (bias == nullptr) return;
  for (std::size_t row = 0; row < rows; ++row, x += n) {
    for (std::size_t i = 0; i < n; ++i) x[i] += bias[i];
  }
}

// One image's step; x and h are its gates' products, with their biases.
void step_lstm(std::size_t n, const float* x, const float* r, float* h, float* c) {
  for (std::size_t i = 0; i < n; ++i) {
    const float input = sigmoid_f32(x[i] + r[i]), output = sigmoid_f32(x[n + i] + r[n + i]);
    const float forget = sigmoid_f32(x[2 * n + i] + r[2 * n + i]);
    c[i] = forget * c[i] + input * tanh_f32(x[3 * n + i] + r[3 * n + i]);
    h[i] = output * tanh_f32(c[i]);
  }
}

void step_gru(std::size_t n, const float* x, const float* r, float* h) {
  for (std::size_t i = 0; i < n; ++i) {
    const float update = sigmoid_f32(x[i] + r[i]), reset = sigmoid_f32(x[n + i] + r[n + i]);
    const float candidate = tanh_f32(x[2 * n + i] + reset * r[2 * n + i]);
    h[i] = (1.0f - update) * candidate + update * h[i];
  }
}

}  // namespace

std::size_t gate_count(Recurrence kind) noexcept {
  return kind == Recurrence::kLstm ? 4 : kind == Recurrence::kGru ? 3 : 1;
}

std::size_t recurrent_scratch_bytes(const RecurrentExtents& e, std::size_t num_threads) {
  return Layout(e, num_threads).bytes;
}

void recurrent_f32(Context& context, const RecurrentExtents& e, const RecurrentWeights& weights,
                   const float* x, float* y, float* h, float* c, std::byte* scratch) {
  const Layout layout(e, context.pool().num_threads());
  const std::size_t n = e.hidden, gates = gate_count(e.kind) * n;
  auto* const inputs = reinterpret_cast<float*>(scratch);
  auto* const recurrent = reinterpret_cast<float*>(scratch + layout.recurrent);
  auto* const gated = reinterpret_cast<float*>(scratch + layout.gated);
  std::byte* const product = scratch + layout.product;
  const float* const recurrent_bias = weights.b == nullptr ? nullptr : weights.b + gates;
  matmul_f32(context, product_of(e.steps * e.batch, gates, e.inputs), x, weights.w, inputs, product);
  add_bias(e.steps * e.batch, gates, weights.b, inputs);
  for (std::size_t s = 0; s < e.steps; ++s) {
    const std::size_t t = e.is_reversed ? e.steps - 1 - s : s;
    matmul_f32(context, product_of(e.batch, gates, n), h, weights.r, recurrent, product);
    add_bias(e.batch, gates, recurrent_bias, recurrent);
    const float* const from = inputs + t * e.batch * gates;
    if (e.kind == Recurrence::kGru && !e.linear_before_reset) {
      // The candidate's product is that of what the reset gate lets through; its place is behind the gates.
      for (std::size_t i = 0; i < e.batch * n; ++i) {
        const std::size_t at = i / n * gates + n + i % n;
        gated[i] = sigmoid_f32(from[at] + recurrent[at]) * h[i];
      }
      MatmulExtents part = product_of(e.batch, n, n);
      part.c_m_stride = static_cast<std::ptrdiff_t>(gates);
      matmul_f32(context, part, gated, weights.r + 2 * n * n, recurrent + 2 * n, product);
    }
    for (std::size_t image = 0; image < e.batch; ++image) {
      const float *a = from + image * gates, *r = recurrent + image * gates;
      float* const state = h + image * n;
      switch (e.kind) {
        case Recurrence::kTanh:
          for (std::size_t i = 0; i < n; ++i) state[i] = tanh_f32(a[i] + r[i]);
          break;
        case Recurrence::kRelu:
          for (std::size_t i = 0; i < n; ++i) state[i] = std::max(a[i] + r[i], 0.0f);
          break;
        case Recurrence::kLstm: step_lstm(n, a, r, state, c + image * n); break;
        case Recurrence::kGru:
          if (e.linear_before_reset) {
            step_gru(n, a, r, state);
            break;
          }
          for (std::size_t i = 0; i < n; ++i) {
            const float bias = recurrent_bias == nullptr ? 0.0f : recurrent_bias[2 * n + i];
            const float update = sigmoid_f32(a[i] + r[i]);
            const float candidate = tanh_f32(a[2 * n + i] + (r[2 * n + i] + bias));
            state[i] = (1.0f - update) * candidate + update * state[i];
          }
          break;
      }
    }
    std::memcpy(y + t * e.y_stride, h, e.batch * n * sizeof(float));
  }
}

}  // namespace qslim
