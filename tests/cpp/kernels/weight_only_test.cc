// SPDX-License-Identifier: Apache-2.0
//
// Products with integer weights and lookups in integer tables, against their definitions, bit for bit.
#include "qslim/kernels/weight_only/weight_only.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "kernels/kernel_rows.h"
#include "qslim/core/aligned_buffer.h"
#include "qslim/kernels/weight_only/quantized_rows.h"
#include "qslim/kernels/weight_only/table.h"
#include "test_data.h"

namespace qslim {
namespace {

using test::expect_same_bits;
using test::GuardedArray;

class WeightOnlyProduct : public test::KernelTest<WeightOnlyKernels> {};
QSLIM_TEST_KERNEL_ROWS(WeightOnlyProduct, "weight_only", kWeightOnlyKernels);

struct Case {
  std::size_t m, n, k, group_size;
  bool is_narrow, is_transposed;
};

struct Weight {
  std::vector<std::int8_t> integers;  // as stored: [k, n], or [n, k] if it is transposed
  std::vector<float> scale;           // the same, with groups for k
  std::size_t groups;

  explicit Weight(const Case& c) : integers(c.k * c.n) {
    std::mt19937 random(static_cast<unsigned>(c.n * 31 + c.k));
    groups = c.group_size == 0 ? 1 : (c.k + c.group_size - 1) / c.group_size;
    for (std::int8_t& q : integers) {
      q = static_cast<std::int8_t>(c.is_narrow ? static_cast<int>(random() % 16) - 8
                                               : static_cast<int>(random() % 255) - 127);
    }
    if (c.n > 1) {  // a column of zeros
      for (std::size_t k = 0; k < c.k; ++k) integers[c.is_transposed ? c.k + k : k * c.n + 1] = 0;
    }
    std::uniform_real_distribution<float> step(0.001f, 0.1f);
    for (std::size_t i = 0; i < groups * c.n; ++i) scale.push_back(step(random));
  }
};

// The definition: one chain of fused multiply-adds of what the integers stand for.
std::vector<float> expected_of(const Case& c, const Weight& w, const std::vector<float>& x,
                               const std::vector<float>& bias, float lo, float hi) {
  std::vector<float> y;
  const std::size_t group = c.group_size == 0 ? c.k : c.group_size;
  for (std::size_t m = 0; m < c.m; ++m) {
    for (std::size_t n = 0; n < c.n; ++n) {
      float sum = 0;
      for (std::size_t k = 0; k < c.k; ++k) {
        const std::size_t g = k / group;
        const auto q = static_cast<float>(w.integers[c.is_transposed ? n * c.k + k : k * c.n + n]);
        const float real = q * w.scale[c.is_transposed ? n * w.groups + g : g * c.n + n];
        sum = std::fma(x[m * c.k + k], real, sum);
      }
      float v = sum + (bias.empty() ? 0.0f : bias[n]);
      v = lo > v ? lo : v;
      y.push_back(hi < v ? hi : v);
    }
  }
  return y;
}

void check(Isa isa, const Case& c) {
  const Weight w(c);
  const std::vector<float> x = test::ugly_floats(c.m * c.k, 7, 0.05f, c.m % 2 == 0);
  std::vector<float> bias;
  if (c.n % 2 == 0) bias = test::ugly_floats(c.n, 3, 0.1f, false);
  const float inf = std::numeric_limits<float>::infinity();
  const float lo = c.k % 2 == 0 ? 0.0f : -inf, hi = c.k % 3 == 0 ? 6.0f : inf;
  WeightOnlyWeights weights;
  weights.k = c.k, weights.n = c.n, weights.group_size = c.group_size, weights.is_narrow = c.is_narrow;
  weights.integers = w.integers.data(), weights.scale = w.scale.data();
  weights.k_stride = c.is_transposed ? 1 : c.n, weights.n_stride = c.is_transposed ? c.k : 1;
  weights.scale_group_stride = c.is_transposed ? 1 : c.n;
  weights.scale_n_stride = c.is_transposed ? w.groups : 1;
  const WeightOnly product(isa, weights, bias);
  const std::vector<float> expected = expected_of(c, w, x, bias, lo, hi);
  for (const std::size_t threads : {1u, 3u}) {
    SCOPED_TRACE(testing::Message() << threads << " threads, " << c.m << "x" << c.n << "x" << c.k
                                    << " in groups of " << c.group_size << (c.is_narrow ? ", 4 bits" : ""));
    Context context(threads, isa);
    AlignedBuffer<std::byte> scratch(product.scratch_bytes(c.m, threads));
    GuardedArray<float> from(x, 1), y(std::vector<float>(c.m * c.n, 7.0f), 2);
    product.run(context, c.m, from.data(), lo, hi, y.data(), scratch.data());
    for (std::size_t i = 0; i < expected.size(); ++i) {  // which NaN it is does not count
      if (std::isnan(expected[i]) && std::isnan(y.data()[i])) y.data()[i] = expected[i];
    }
    expect_same_bits(expected.data(), y.data(), expected.size());
    y.expect_canaries();
  }
}

TEST_P(WeightOnlyProduct, EqualsTheProductWithWhatItsIntegersStandFor) {
  for (const std::size_t m : {0u, 1u, 2u, 3u, 4u, 5u, 6u, 7u, 13u, 100u}) {
    for (const std::size_t n : {1u, 7u, 16u, 17u, 64u, 130u, 200u}) {
      for (const std::size_t k : {1u, 2u, 31u, 64u, 65u}) {
        if (m == 100 && n > 64) continue;
        for (const std::size_t group_size : {0u, 32u}) {
          for (const int kind : {0, 1, 2, 3}) {
            check(isa(), {m, n, k, group_size, (kind & 1) != 0, (kind & 2) != 0});
            if (HasFailure()) return;
          }
        }
      }
    }
  }
}

// Panels of floats that leave the cache are cut narrower.
TEST_P(WeightOnlyProduct, OfLongSums) {
  for (const bool is_narrow : {false, true}) {
    for (const std::size_t m : {1u, 7u}) check(isa(), {m, 33, 5001, 128, is_narrow, false});
    check(isa(), {5, 20, 20000, 0, is_narrow, true});
  }
}

TEST(WeightOnly, RefusesWhatItCannotPack) {
  WeightOnlyWeights weights;
  const std::vector<float> none;
  EXPECT_THROW(WeightOnly(default_isa(), weights, none), InvalidArgument);
  const std::vector<std::int8_t> q(6, 1);
  const std::vector<float> scale(6, 1.0f), bias(3);
  weights.k = 3, weights.n = 2, weights.k_stride = 2, weights.integers = q.data(),
  weights.scale = scale.data();
  EXPECT_THROW(WeightOnly(default_isa(), weights, bias), InvalidArgument);
  weights.group_size = 3;
  EXPECT_THROW(WeightOnly(default_isa(), weights, none), InvalidArgument);
}

TEST(QuantizedRows, EqualTheirDefinition) {
  std::mt19937 random(5);
  for (const std::size_t width : {1u, 2u, 31u, 64u, 65u, 300u}) {
    for (const std::size_t group_size : {0u, 32u}) {
      for (const bool is_narrow : {false, true}) {
        constexpr std::size_t kRows = 9;
        const std::size_t groups = group_size == 0 ? 1 : (width + group_size - 1) / group_size;
        const std::size_t row_bytes = is_narrow ? (width + 1) / 2 : width;
        std::vector<std::uint8_t> bytes(kRows * row_bytes);
        for (std::uint8_t& b : bytes) b = static_cast<std::uint8_t>(random());
        std::vector<float> scale;
        for (std::size_t i = 0; i < kRows * groups; ++i) scale.push_back(0.01f * static_cast<float>(i + 1));
        const std::vector<std::int64_t> indices = {8, 0, -9, 3, 3, -1};
        std::vector<float> expected;
        for (const std::int64_t index : indices) {
          const auto at = static_cast<std::size_t>(index < 0 ? index + 9 : index);
          for (std::size_t j = 0; j < width; ++j) {
            int q = static_cast<std::int8_t>(is_narrow ? 0 : bytes[at * row_bytes + j]);
            if (is_narrow) q = bytes[at * row_bytes + j / 2] >> (j % 2 == 0 ? 0 : 4) & 15;
            if (is_narrow && q > 7) q -= 16;
            const float s = scale[at * groups + (group_size == 0 ? 0 : j / group_size)];
            expected.push_back(static_cast<float>(q) * s);
          }
        }
        Context context(2);
        std::vector<float> y(expected.size());
        const QuantizedRows table{kRows, width, bytes.data(), is_narrow, scale.data(), groups, group_size};
        gather_dequantized(context, table, indices, y.data());
        expect_same_bits(expected.data(), y.data(), y.size());
        for (const std::int64_t wrong : {9, -10}) {
          EXPECT_THROW(gather_dequantized(context, table, std::vector<std::int64_t>{wrong}, y.data()),
                       InvalidArgument);
        }
      }
    }
  }
}

}  // namespace
}  // namespace qslim
