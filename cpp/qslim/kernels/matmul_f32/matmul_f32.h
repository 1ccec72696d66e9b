// SPDX-License-Identifier: Apache-2.0
//
// Batched product of two float matrices that are both known at run time only (attention).
//
//   c[b, m, n] = sum over k of a[b, m, k] * b[b, k, n]
//
// Each sum is one chain of fused multiply-adds over rising k that starts at +0, so every instruction set and
// any number of threads gives the same bits. Any strides serve: a transposed operand has its two swapped.
// Fast where b is contiguous along n or along k.
#pragma once

#include <cstddef>

#include "qslim/core/context.h"

namespace qslim {

// Strides count elements; 0 broadcasts.
struct MatmulExtents {
  static constexpr std::size_t kBatchAxes = 3;
  std::size_t batch[kBatchAxes] = {1, 1, 1};
  std::size_t m = 1, n = 1, k = 1;
  std::ptrdiff_t a_batch_strides[kBatchAxes] = {}, b_batch_strides[kBatchAxes] = {};
  std::ptrdiff_t c_batch_strides[kBatchAxes] = {};
  std::ptrdiff_t a_m_stride = 0, a_k_stride = 1;  // a row-major: k, 1; transposed: 1, m
  std::ptrdiff_t b_k_stride = 0, b_n_stride = 1;  // b row-major: n, 1; transposed: 1, k
  std::ptrdiff_t c_m_stride = 0;                  // along n c is contiguous
};

// Of one contiguous product in one batch axis; a batch of 1 broadcasts.
MatmulExtents contiguous_matmul_extents(std::size_t a_batch, std::size_t b_batch, std::size_t m,
                                        std::size_t n, std::size_t k, bool a_transposed = false,
                                        bool b_transposed = false);

std::size_t matmul_f32_scratch_bytes(const MatmulExtents& extents, std::size_t num_threads);

// scratch: matmul_f32_scratch_bytes bytes, on a cache line. Allocates nothing.
void matmul_f32(Context& context, const MatmulExtents& extents, const float* a, const float* b, float* c,
                std::byte* scratch);

}  // namespace qslim
