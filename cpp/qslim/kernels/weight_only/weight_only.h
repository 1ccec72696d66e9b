// SPDX-License-Identifier: Apache-2.0
//
// WeightOnly: a product with a weight that stays in small integers, packed once for one instruction set.
//
//   w[k, n] = float(q[k, n]) * scale[k / group_size, n]
//   y[m, n] = min(max(sum over k of x[m, k] * w[k, n] + bias[n], lo), hi)
//
// The bits of ConvF32 with the weight w, on every instruction set and for any number of threads: each sum is
// one chain of fused multiply-adds over rising k, from +0. A few rows (one, where a network takes one token)
// read the integers alone, a fourth or an eighth of the memory of floats, and make floats of them in registers;
// for more rows a panel of the weight becomes floats once for all of them, and the kernels of gemm_f32 run.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "qslim/core/context.h"
#include "qslim/core/span.h"

namespace qslim {

struct WeightOnlyWeights {
  std::size_t k = 0, n = 0;
  const std::int8_t* integers = nullptr;  // q[k, n] at k * k_stride + n * n_stride
  std::size_t k_stride = 0, n_stride = 1;
  const float* scale = nullptr;  // scale[g, n] at g * scale_group_stride + n * scale_n_stride
  std::size_t scale_group_stride = 0, scale_n_stride = 1;
  std::size_t group_size = 0;  // even, or 0: one group
  bool is_narrow = false;      // every integer in [-8, 7]: two of them a byte
};

class WeightOnly {
 public:
  // bias [n] or empty.
  WeightOnly(Isa isa, const WeightOnlyWeights& weights, Span<const float> bias);
  ~WeightOnly();
  WeightOnly(WeightOnly&&) noexcept;
  WeightOnly& operator=(WeightOnly&&) noexcept;

  std::size_t scratch_bytes(std::size_t rows, std::size_t num_threads) const;
  // x [rows, k], y [rows, n]. Allocates nothing; scratch on a cache line.
  void run(Context& context, std::size_t rows, const float* x, float lo, float hi, float* y,
           std::byte* scratch) const;

  const char* kernel_name() const noexcept;
  std::size_t packed_bytes() const noexcept;

 private:
  struct Packed;
  std::unique_ptr<const Packed> packed_;
};

}  // namespace qslim
