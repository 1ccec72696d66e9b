// SPDX-License-Identifier: Apache-2.0
//
// Every quantization and dequantization kernel against the reference, bit for bit; then the entry points.
#include "qslim/kernels/quantize/quantize.h"

#include <gtest/gtest.h>

#include "kernels/kernel_rows.h"
#include "qslim/kernels/fake_quant/fake_quant.h"
#include "qslim/kernels/quantize/table.h"
#include "qslim/reference/fake_quant.h"
#include "test_data.h"

namespace qslim {
namespace {

using test::expect_same_bits;
using test::GuardedArray;

class Quantize : public test::KernelTest<QuantizeKernels> {};
QSLIM_TEST_KERNEL_ROWS(Quantize, "quantize", kQuantizeKernels);

struct Table {
  explicit Table(std::vector<QParams> each)
      : qparams(std::move(each)), values(5, std::vector<float>(qparams.size())) {
    for (std::size_t i = 0; i < qparams.size(); ++i) {
      values[0][i] = qparams[i].scale;
      values[1][i] = 1.0f / qparams[i].scale;
      values[2][i] = static_cast<float>(qparams[i].qmin - qparams[i].zero_point);
      values[3][i] = static_cast<float>(qparams[i].qmax - qparams[i].zero_point);
      values[4][i] = static_cast<float>(qparams[i].zero_point);
    }
  }
  ChannelParams params() const {
    return {values[0].data(), values[1].data(), values[2].data(), values[3].data(), values[4].data()};
  }
  std::vector<QParams> qparams;
  std::vector<std::vector<float>> values;
};

const std::vector<QParams> kSigned = {
    {0.1f, 0, -127, 127}, {0.3f, -5, -128, 127}, {1.0f, 127, -128, 127}, {0.5f, 0, -7, 7}};
const std::vector<QParams> kUnsigned = {
    {0.1f, 0, 0, 255}, {0.3f, 128, 0, 255}, {1.0f, 255, 0, 255}, {0.5f, 3, 0, 15}};

std::vector<QParams> cycle(const std::vector<QParams>& qparams, std::size_t n) {
  std::vector<QParams> each;
  for (std::size_t i = 0; i < n; ++i) each.push_back(qparams[i % qparams.size()]);
  return each;
}

TEST_P(Quantize, QuantizationEqualsTheReference) {
  for (const std::size_t n : test::ugly_sizes()) {
    for (const std::vector<QParams>& qparams : {kSigned, kUnsigned}) {
      const Table rows(cycle(qparams, 3));
      const Table each(cycle(qparams, n));
      for (const Rounding rounding : {Rounding::kTiesToEven, Rounding::kTiesAway}) {
        GuardedArray<float> x(test::ugly_floats(3 * n, unsigned(n), 0.1f, true), n % 4);
        GuardedArray<std::uint8_t> by_row(3 * n, n % 7), by_element(n, n % 5);
        std::vector<std::uint8_t> expected(3 * n), expected_each(n);
        for (std::size_t i = 0; i < 3 * n; ++i) {
          expected[i] =
              static_cast<std::uint8_t>(reference::quantize(x.data()[i], rows.qparams[i / n], rounding));
        }
        for (std::size_t i = 0; i < n; ++i) {
          expected_each[i] =
              static_cast<std::uint8_t>(reference::quantize(x.data()[i], each.qparams[i], rounding));
        }
        kernels().quantize_rows(3, n, x.data(), rows.params(), rounding, by_row.data());
        expect_same_bits(expected.data(), by_row.data(), 3 * n);
        by_row.expect_canaries();
        kernels().quantize_elements(n, x.data(), each.params(), rounding, by_element.data());
        expect_same_bits(expected_each.data(), by_element.data(), n);
        by_element.expect_canaries();
      }
    }
  }
}

template <class Q, class Rows, class Elements>
void check_dequantize(const std::vector<QParams>& qparams, Rows rows_kernel, Elements elements_kernel) {
  for (const std::size_t n : test::ugly_sizes()) {
    const Table rows(cycle(qparams, 3)), each(cycle(qparams, n));
    std::vector<Q> values(3 * n);
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<Q>(i * 37 + n);
    GuardedArray<Q> q(values, n % 7);
    GuardedArray<float> by_row(3 * n, n % 4), by_element(n, n % 3);
    std::vector<float> expected(3 * n), expected_each(n);
    for (std::size_t i = 0; i < 3 * n; ++i)
      expected[i] = reference::dequantize(values[i], rows.qparams[i / n]);
    for (std::size_t i = 0; i < n; ++i) expected_each[i] = reference::dequantize(values[i], each.qparams[i]);
    rows_kernel(3, n, q.data(), rows.params(), by_row.data());
    expect_same_bits(expected.data(), by_row.data(), 3 * n);
    by_row.expect_canaries();
    elements_kernel(n, q.data(), each.params(), by_element.data());
    expect_same_bits(expected_each.data(), by_element.data(), n);
    by_element.expect_canaries();
  }
}

TEST_P(Quantize, DequantizationEqualsTheReference) {
  check_dequantize<std::int8_t>(kSigned, kernels().dequantize_s8_rows, kernels().dequantize_s8_elements);
  check_dequantize<std::uint8_t>(kUnsigned, kernels().dequantize_u8_rows, kernels().dequantize_u8_elements);
}

TEST_P(Quantize, ThereAndBackIsFakeQuant) {
  const ChannelExtents layouts[] = {{1, 1, 100000}, {2, 30, 70}, {900, 4, 1}, {3, 600, 1}};
  for (const ChannelExtents& extents : layouts) {
    std::vector<float> x = test::ugly_floats(extents.size(), 9, 0.1f, true);
    for (float& value : x) value = std::isnan(value) ? 1.0f : value;
    std::vector<float> scale(extents.channels);
    for (std::size_t c = 0; c < scale.size(); ++c) scale[c] = 0.05f * static_cast<float>(c + 1);
    const std::vector<std::int32_t> zero_point = {100};
    const AffineParams params{scale, zero_point, 0, 255, Rounding::kTiesToEven};
    for (const std::size_t threads : {1u, 2u, 4u}) {
      Context context(threads, isa());
      std::vector<float> direct(x.size()), back(x.size());
      std::vector<std::uint8_t> q(x.size());
      fake_quant(context, x, extents, params, direct);
      quantize<std::uint8_t>(context, x, extents, params, q);
      dequantize<std::uint8_t>(context, q, extents, params, back);
      expect_same_bits(direct.data(), back.data(), x.size());
    }
  }
}

// Row 3 of the oracles: threshold 127 on the full int8 range, as Paddle's quantize_linear.
TEST(Quantize, GoldenNumbersOfPaddle) {
  const std::vector<float> x = {.5f, 1.5f, 2.5f, -.5f, 200.0f, -200.0f};
  const std::vector<std::int8_t> expected = {0, 2, 2, 0, 127, -128};
  const float scale = 1;
  const std::int32_t zero_point = 0;
  std::vector<std::int8_t> q(x.size());
  Context context;
  quantize<std::int8_t>(context, x, whole_tensor(x.size()), {{&scale, 1}, {&zero_point, 1}, -128, 127}, q);
  EXPECT_EQ(q, expected);
}

TEST(Quantize, RefusesARangeTheTypeCannotHold) {
  Context context;
  const float scale = 1;
  const std::int32_t zero_point = 0;
  std::vector<float> x(4);
  std::vector<std::int8_t> q(4);
  const AffineParams params{{&scale, 1}, {&zero_point, 1}, -127, 255};
  EXPECT_THROW(quantize<std::int8_t>(context, x, whole_tensor(4), params, q), InvalidArgument);
}

}  // namespace
}  // namespace qslim
