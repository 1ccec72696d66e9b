// SPDX-License-Identifier: Apache-2.0
//
// Every fake-quantization kernel against the reference, bit for bit; then the entry points.
#include "qslim/kernels/fake_quant/fake_quant.h"

#include <gtest/gtest.h>

#include "kernels/kernel_rows.h"
#include "qslim/kernels/fake_quant/table.h"
#include "qslim/reference/fake_quant.h"
#include "test_data.h"

namespace qslim {
namespace {

using test::expect_same_bits;
using test::GuardedArray;

class FakeQuant : public test::KernelTest<FakeQuantKernels> {};
QSLIM_TEST_KERNEL_ROWS(FakeQuant, "fake_quant", kFakeQuantKernels);

const QParams kQParams[] = {{0.1f, 0, -127, 127},    {0.1f, 0, -128, 127}, {0.25f, 0, 0, 255},
                            {0.05f, 128, 0, 255},    {1.0f, 255, 0, 255},  {3.0f, -3, -8, 7},
                            {0.5f, 0, -1, 1},        {0.7f, 1, 0, 3},      {1e-3f, 0, -32767, 32767},
                            {0.01f, 40000, 0, 65535}};
const Rounding kRoundings[] = {Rounding::kTiesToEven, Rounding::kTiesAway};

// Parameters of one channel each, cycling through kQParams with scales that differ.
struct Channels {
  explicit Channels(std::size_t n) : values(5, std::vector<float>(n)) {
    for (std::size_t c = 0; c < n; ++c) {
      QParams p = kQParams[c % std::size(kQParams)];
      p.scale *= 1.0f + 0.01f * static_cast<float>(c % 7);
      qparams.push_back(p);
      values[0][c] = p.scale;
      values[1][c] = 1.0f / p.scale;
      values[2][c] = static_cast<float>(p.qmin - p.zero_point);
      values[3][c] = static_cast<float>(p.qmax - p.zero_point);
      values[4][c] = static_cast<float>(p.zero_point);
    }
  }
  ChannelParams params() const {
    return {values[0].data(), values[1].data(), values[2].data(), values[3].data(), values[4].data()};
  }
  std::vector<QParams> qparams;
  std::vector<std::vector<float>> values;
};

TEST_P(FakeQuant, RowsEqualTheReference) {
  for (const std::size_t inner : test::ugly_sizes()) {
    const std::size_t rows = inner < 300 ? 11 : 2, offset = inner % 5;
    const Channels channels(rows);
    for (const Rounding rounding : kRoundings) {
      for (const bool stream : {false, true}) {
        GuardedArray<float> x(test::ugly_floats(rows * inner, unsigned(inner), 0.1f, true), offset);
        GuardedArray<float> y(rows * inner, (offset + inner) % 3);
        std::vector<float> expected(rows * inner);
        for (std::size_t i = 0; i < expected.size(); ++i) {
          expected[i] = reference::fake_quant(x.data()[i], channels.qparams[i / inner], rounding);
        }
        kernels().rows(rows, inner, x.data(), channels.params(), rounding, stream, y.data());
        expect_same_bits(expected.data(), y.data(), expected.size());
        y.expect_canaries();
        kernels().rows(rows, inner, x.data(), channels.params(), rounding, stream, x.data());
        expect_same_bits(expected.data(), x.data(), expected.size());
        x.expect_canaries();
      }
    }
  }
}

TEST_P(FakeQuant, ElementsEqualTheReference) {
  for (const std::size_t n : test::ugly_sizes()) {
    const Channels channels(n);
    for (const Rounding rounding : kRoundings) {
      GuardedArray<float> x(test::ugly_floats(n, unsigned(n), 0.1f, true), n % 4), y(n, n % 3);
      std::vector<float> expected(n);
      for (std::size_t i = 0; i < n; ++i) {
        expected[i] = reference::fake_quant(x.data()[i], channels.qparams[i], rounding);
      }
      kernels().elements(n, x.data(), channels.params(), rounding, y.data());
      expect_same_bits(expected.data(), y.data(), n);
      y.expect_canaries();
    }
  }
}

TEST_P(FakeQuant, BackwardEqualsTheReference) {
  for (const std::size_t n : test::ugly_sizes()) {
    for (const Rounding rounding : kRoundings) {
      const Channels each(n), row(3);
      GuardedArray<float> x(test::ugly_floats(3 * n, unsigned(n), 0.1f, true), n % 4);
      GuardedArray<float> g(test::ugly_floats(3 * n, unsigned(n) + 1, 1.0f, true), n % 5);
      GuardedArray<float> by_element(n, n % 3), by_row(3 * n, n % 2);
      std::vector<float> expected(n), expected_rows(3 * n);
      for (std::size_t i = 0; i < 3 * n; ++i) {
        expected_rows[i] =
            reference::fake_quant_backward_clipped(x.data()[i], g.data()[i], row.qparams[i / n], rounding);
      }
      for (std::size_t i = 0; i < n; ++i) {
        expected[i] =
            reference::fake_quant_backward_clipped(x.data()[i], g.data()[i], each.qparams[i], rounding);
      }
      kernels().backward_elements(n, x.data(), g.data(), each.params(), rounding, by_element.data());
      expect_same_bits(expected.data(), by_element.data(), n);
      by_element.expect_canaries();
      kernels().backward_rows(3, n, x.data(), g.data(), row.params(), rounding, by_row.data());
      expect_same_bits(expected_rows.data(), by_row.data(), 3 * n);
      by_row.expect_canaries();
    }
  }
}

// Floats around every tie of 8 bits at scale 1: the known weak spot of ties-away formulas.
TEST_P(FakeQuant, TiesAwayIsExactBesideEveryTie) {
  const QParams p{1.0f, 0, -127, 127};
  const float scale = 1, lo = -127, hi = 127, zero = 0;
  const ChannelParams params{&scale, &scale, &lo, &hi, &zero};
  std::vector<float> x;
  for (int k = -130; k <= 130; ++k) {
    float value = static_cast<float>(k) + 0.5f;
    for (int i = 0; i < 20; ++i) value = std::nextafter(value, -1000.0f);
    for (int i = 0; i < 40; ++i) {
      x.push_back(value);
      value = std::nextafter(value, 1000.0f);
    }
  }
  for (const Rounding rounding : kRoundings) {
    std::vector<float> expected(x.size()), y(x.size());
    for (std::size_t i = 0; i < x.size(); ++i) expected[i] = reference::fake_quant(x[i], p, rounding);
    kernels().rows(1, x.size(), x.data(), params, rounding, false, y.data());
    expect_same_bits(expected.data(), y.data(), x.size());
  }
}

// Numbers run on Paddle 3.3.1's kernels: threshold 127 and 8 bits, so scale 1.
TEST(FakeQuant, GoldenNumbersOfPaddle) {
  const std::vector<float> x = {.5f, 1.5f, 2.5f, -.5f, -1.5f, 126.5f, 127.0f, -127.0f};
  const std::vector<float> away = {1, 2, 3, -1, -2, 127, 127, -127}, even = {0, 2, 2, 0, -2, 126, 127, -127};
  const float scale = 1;
  const std::int32_t zero_point = 0;
  std::vector<float> y(x.size());
  AffineParams params{{&scale, 1}, {&zero_point, 1}, -127, 127, Rounding::kTiesAway};
  Context context;
  fake_quant(context, x, whole_tensor(x.size()), params, y);
  EXPECT_EQ(y, away);
  params.rounding = Rounding::kTiesToEven;
  fake_quant(context, x, whole_tensor(x.size()), params, y);
  EXPECT_EQ(y, even);
}

struct Layout {
  std::size_t outer, channels, inner;
};

TEST_P(FakeQuant, EveryLayoutAndThreadCountEqualsTheReference) {
  const Layout layouts[] = {{1, 1, 200000}, {2, 64, 500}, {1, 300, 9}, {1000, 3, 1}, {40, 512, 1}, {7, 5, 2},
                            {70000, 3, 1},  {5, 1, 4},    {0, 3, 4},   {3, 0, 4},    {1, 1000, 1}};
  for (const Layout& layout : layouts) {
    SCOPED_TRACE(::testing::Message() << layout.outer << " x " << layout.channels << " x " << layout.inner);
    const ChannelExtents extents{layout.outer, layout.channels, layout.inner};
    const std::vector<float> x = test::ugly_floats(extents.size(), 3, 0.1f, true);
    const std::vector<float> g = test::ugly_floats(extents.size(), 4, 1.0f, true);
    std::vector<float> scale(layout.channels), expected(x.size()), expected_dx(x.size());
    std::vector<std::int32_t> zero_point(layout.channels);
    for (std::size_t c = 0; c < layout.channels; ++c) {
      scale[c] = 0.1f + 0.001f * static_cast<float>(c);
      zero_point[c] = static_cast<std::int32_t>(c % 200);
    }
    for (std::size_t i = 0; i < x.size(); ++i) {
      const std::size_t c = i / layout.inner % layout.channels;
      const QParams p{scale[c], zero_point[c], 0, 255};
      expected[i] = reference::fake_quant(x[i], p, Rounding::kTiesToEven);
      expected_dx[i] = reference::fake_quant_backward_clipped(x[i], g[i], p, Rounding::kTiesToEven);
    }
    if (layout.channels == 0) zero_point.push_back(0);
    const AffineParams params{scale, zero_point, 0, 255, Rounding::kTiesToEven};
    for (const std::size_t threads : {1u, 2u, 4u}) {
      Context context(threads, isa());
      std::vector<float> y(x.size()), dx(x.size());
      fake_quant(context, x, extents, params, y);
      expect_same_bits(expected.data(), y.data(), y.size());
      fake_quant_backward(context, x, g, extents, params, Gradient::kClipped, dx);
      expect_same_bits(expected_dx.data(), dx.data(), dx.size());
      fake_quant_backward(context, x, g, extents, params, Gradient::kStraightThrough, dx);
      expect_same_bits(g.data(), dx.data(), dx.size());
    }
  }
}

TEST_P(FakeQuant, LargeResultsTakeTheStreamingPath) {
  const std::size_t n = (std::size_t{4} << 20) + 5;
  const std::vector<float> x = test::ugly_floats(n, 5, 0.1f, true);
  std::vector<float> y(n);
  const float scale = 0.1f;
  const std::int32_t zero_point = 0;
  Context context(2, isa());
  fake_quant(context, x, whole_tensor(n), {{&scale, 1}, {&zero_point, 1}, -127, 127, Rounding::kTiesToEven},
             y);
  for (std::size_t i = 0; i < n; i += i < n - 100 ? 97 : 1) {
    const float expected = reference::fake_quant(x[i], {scale, 0, -127, 127}, Rounding::kTiesToEven);
    expect_same_bits(&expected, &y[i], 1);
  }
}

TEST(FakeQuant, RefusesWhatMakesNoSense) {
  Context context;
  std::vector<float> x(6, 1.0f), y(6), scale = {0.1f};
  const std::vector<std::int32_t> zero_point = {0};
  const auto run = [&](AffineParams params, ChannelExtents extents) {
    fake_quant(context, x, extents, params, y);
  };
  for (const float bad : {0.0f, -1.0f, std::numeric_limits<float>::quiet_NaN(), INFINITY, 1e-40f}) {
    scale[0] = bad;
    EXPECT_THROW(run({scale, zero_point}, whole_tensor(6)), InvalidArgument) << bad;
  }
  scale[0] = 0.1f;
  EXPECT_THROW(run({scale, zero_point, 5, 5}, whole_tensor(6)), InvalidArgument);
  EXPECT_THROW(run({scale, zero_point, 1, 5}, whole_tensor(6)), InvalidArgument);  // 0.0 has no place
  EXPECT_THROW(run({scale, zero_point, -(1 << 20), 5}, whole_tensor(6)), InvalidArgument);
  EXPECT_THROW(run({scale, zero_point}, whole_tensor(5)), InvalidArgument);
  EXPECT_THROW(run({scale, zero_point}, ChannelExtents{1, 2, 3}), InvalidArgument);
  EXPECT_NO_THROW(run({scale, zero_point}, whole_tensor(6)));
}

}  // namespace
}  // namespace qslim
