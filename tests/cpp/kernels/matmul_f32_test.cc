// SPDX-License-Identifier: Apache-2.0
//
// Products of float matrices against chains of fused multiply-adds, bit for bit.
#include "qslim/kernels/matmul_f32/matmul_f32.h"

#include <gtest/gtest.h>

#include "kernels/kernel_rows.h"
#include "qslim/core/aligned_buffer.h"
#include "qslim/kernels/matmul_f32/table.h"
#include "test_data.h"

namespace qslim {
namespace {

using test::expect_same_bits;
using test::GuardedArray;

class MatmulF32 : public test::KernelTest<MatmulF32Kernels> {};
QSLIM_TEST_KERNEL_ROWS(MatmulF32, "matmul_f32", kMatmulF32Kernels);

void check(Isa isa, const MatmulExtents& e, std::size_t a_size, std::size_t b_size, std::size_t c_size) {
  std::mt19937 random(static_cast<unsigned>(e.m + e.n + e.k));
  std::normal_distribution<float> normal;
  std::vector<float> a(a_size), b(b_size), expected(c_size, 7.0f);
  for (float& value : a) value = normal(random);
  for (float& value : b) value = normal(random);
  const auto at = [](std::size_t i, std::ptrdiff_t stride) {
    return static_cast<std::ptrdiff_t>(i) * stride;
  };
  for (std::size_t i = 0; i < e.batch[0] * e.batch[1] * e.batch[2]; ++i) {
    const std::size_t index[] = {i / (e.batch[1] * e.batch[2]), i / e.batch[2] % e.batch[1], i % e.batch[2]};
    std::ptrdiff_t ao = 0, bo = 0, co = 0;
    for (int axis = 0; axis < 3; ++axis) {
      ao += at(index[axis], e.a_batch_strides[axis]);
      bo += at(index[axis], e.b_batch_strides[axis]);
      co += at(index[axis], e.c_batch_strides[axis]);
    }
    for (std::size_t m = 0; m < e.m; ++m) {
      for (std::size_t n = 0; n < e.n; ++n) {
        float acc = 0;
        for (std::size_t k = 0; k < e.k; ++k) {
          acc = std::fma(a[static_cast<std::size_t>(ao + at(m, e.a_m_stride) + at(k, e.a_k_stride))],
                         b[static_cast<std::size_t>(bo + at(k, e.b_k_stride) + at(n, e.b_n_stride))], acc);
        }
        expected[static_cast<std::size_t>(co + at(m, e.c_m_stride)) + n] = acc;
      }
    }
  }
  for (const std::size_t threads : {1u, 2u, 3u}) {
    SCOPED_TRACE(testing::Message() << threads << " threads, " << e.m << "x" << e.n << "x" << e.k);
    Context context(threads, isa);
    AlignedBuffer<std::byte> scratch(matmul_f32_scratch_bytes(e, threads));
    GuardedArray<float> x(a, 1), w(b, 3), c(std::vector<float>(c_size, 7.0f), 2);
    matmul_f32(context, e, x.data(), w.data(), c.data(), scratch.data());
    expect_same_bits(expected.data(), c.data(), c_size);
    c.expect_canaries();
    if (testing::Test::HasFailure()) return;
  }
}

TEST_P(MatmulF32, EqualsTheChainOfFusedMultiplyAdds) {
  for (const std::size_t m : {1u, 2u, 5u, 6u, 7u, 13u, 200u}) {
    for (const std::size_t n : {1u, 15u, 16u, 17u, 64u, 81u, 130u}) {
      for (const std::size_t k : {0u, 1u, 7u, 64u}) {
        for (const int transposed : {0, 1, 2, 3}) {
          if (m == 200 && n > 64) continue;
          check(isa(), contiguous_matmul_extents(1, 1, m, n, k, (transposed & 1) != 0, (transposed & 2) != 0),
                m * k, k * n, m * n);
          if (HasFailure()) return;
        }
      }
    }
  }
}

TEST_P(MatmulF32, BatchesBroadcast) {
  check(isa(), contiguous_matmul_extents(6, 1, 9, 33, 12), 6 * 9 * 12, 33 * 12, 6 * 9 * 33);
  check(isa(), contiguous_matmul_extents(1, 6, 9, 33, 12, false, true), 9 * 12, 6 * 33 * 12, 6 * 9 * 33);
  check(isa(), contiguous_matmul_extents(0, 0, 9, 33, 12), 0, 0, 0);
  EXPECT_THROW(contiguous_matmul_extents(2, 3, 1, 1, 1), InvalidArgument);
}

// q k^T of attention where heads lie beside each other: [batch, position, head, 8], no copies.
TEST_P(MatmulF32, HeadsOfAttentionInPlace) {
  MatmulExtents e;
  const std::size_t batch = 2, positions = 21, heads = 4, width = 8;
  e.batch[1] = batch, e.batch[2] = heads;
  e.m = e.n = positions, e.k = width;
  const std::ptrdiff_t step = heads * width;
  e.a_batch_strides[1] = e.b_batch_strides[1] = step * static_cast<std::ptrdiff_t>(positions);
  e.a_batch_strides[2] = e.b_batch_strides[2] = width;
  e.a_m_stride = e.b_n_stride = step;
  e.a_k_stride = e.b_k_stride = 1;
  e.c_m_stride = positions;
  e.c_batch_strides[2] = positions * positions;
  e.c_batch_strides[1] = heads * positions * positions;
  check(isa(), e, batch * positions * heads * width, batch * positions * heads * width,
        batch * heads * positions * positions);
}

}  // namespace
}  // namespace qslim
