// SPDX-License-Identifier: Apache-2.0
//
// The gradients of learned quantization, every kernel against the reference, bit for bit; then the entry
// points.
#include "qslim/kernels/learned_quant/learned_quant.h"

#include <gtest/gtest.h>

#include "kernels/kernel_rows.h"
#include "qslim/kernels/learned_quant/table.h"
#include "qslim/reference/learned_quant.h"
#include "qslim/reference/reduce.h"
#include "test_data.h"

namespace qslim {
namespace {

using test::expect_same_bits;
using test::GuardedArray;

class LearnedQuant : public test::KernelTest<LearnedQuantKernels> {};
QSLIM_TEST_KERNEL_ROWS(LearnedQuant, "learned_quant", kLearnedQuantKernels);

QParams qparams_of_channel(std::size_t c) {
  const QParams choices[] = {
      {0.1f, 0, -127, 127}, {0.25f, 0, 0, 255}, {0.05f, 128, 0, 255}, {3.0f, -3, -8, 7}, {0.7f, 1, 0, 3}};
  QParams p = choices[c % std::size(choices)];
  p.scale *= 1.0f + 0.01f * static_cast<float>(c % 7);
  return p;
}

// x and g of the same size, thresholds and quantization parameters of `channels` channels, and the
// reference's gradients.
struct Case {
  std::vector<float> x, g, threshold, scale, inv_scale, lo, hi, zero;
  std::vector<std::int32_t> zero_point;

  Case(std::size_t n, std::size_t channels)
      : x(test::ugly_floats(n, unsigned(n), 0.1f, true)),
        g(test::ugly_floats(n, unsigned(n) + 1, 1.0f, false)) {
    for (std::size_t c = 0; c < channels; ++c) {
      const QParams p = qparams_of_channel(c);
      threshold.push_back(c % 5 == 4 ? 0.0f : 0.1f * static_cast<float>(c % 60) + 1.05f);
      scale.push_back(p.scale);
      inv_scale.push_back(1.0f / p.scale);
      lo.push_back(static_cast<float>(p.qmin - p.zero_point));
      hi.push_back(static_cast<float>(p.qmax - p.zero_point));
      zero.push_back(static_cast<float>(p.zero_point));
    }
  }
  ChannelParams params() const { return {scale.data(), inv_scale.data(), lo.data(), hi.data(), zero.data()}; }
  reference::PactGradient pact(std::size_t i, std::size_t c, bool is_unsigned) const {
    return reference::pact_backward(x[i], g[i], threshold[c], is_unsigned);
  }
  reference::LsqGradient lsq(std::size_t i, std::size_t c) const {
    return reference::lsq_backward(x[i], g[i], qparams_of_channel(c));
  }
};

constexpr std::size_t kRows = 3;

TEST_P(LearnedQuant, PactRowsEqualTheReference) {
  for (const std::size_t n : test::ugly_sizes()) {
    const Case data(kRows * n, kRows);
    for (const bool is_unsigned : {false, true}) {
      GuardedArray<float> x(data.x, n % 5), g(data.g, n % 3);
      GuardedArray<double> acc(std::vector<double>(kRows, 0.1), 1);
      std::vector<float> dx(kRows * n);
      std::vector<double> sums(kRows);
      for (std::size_t i = 0; i < dx.size(); ++i) dx[i] = data.pact(i, i / n, is_unsigned).dx;
      for (std::size_t r = 0; r < kRows; ++r) {
        sums[r] = 0.1 + reference::sum_of_terms(n, [&](std::size_t i) {
                    return data.pact(r * n + i, r, is_unsigned).dthreshold;
                  });
      }
      kernels().pact_rows(kRows, n, x.data(), g.data(), data.threshold.data(), is_unsigned, g.data(),
                          acc.data());
      expect_same_bits(dx.data(), g.data(), dx.size());
      expect_same_bits(sums.data(), acc.data(), kRows);
      g.expect_canaries();
      acc.expect_canaries();
    }
  }
}

TEST_P(LearnedQuant, LsqRowsEqualTheReference) {
  for (const std::size_t n : test::ugly_sizes()) {
    const Case data(kRows * n, kRows);
    GuardedArray<float> x(data.x, n % 5), g(data.g, n % 3), out(kRows * n, n % 4);
    GuardedArray<double> scales(std::vector<double>(kRows, 0.1), 1), offsets(std::vector<double>(kRows), 0);
    std::vector<float> dx(kRows * n);
    std::vector<double> dscale(kRows), doffset(kRows);
    for (std::size_t i = 0; i < dx.size(); ++i) dx[i] = data.lsq(i, i / n).dx;
    for (std::size_t r = 0; r < kRows; ++r) {
      const auto at = [&](std::size_t i) { return data.lsq(r * n + i, r); };
      dscale[r] = 0.1 + reference::sum_of_terms(n, [&](std::size_t i) { return at(i).dscale; });
      doffset[r] = reference::sum_of_terms(n, [&](std::size_t i) { return at(i).doffset; });
    }
    kernels().lsq_rows(kRows, n, x.data(), g.data(), data.params(), out.data(), scales.data(),
                       offsets.data());
    expect_same_bits(dx.data(), out.data(), dx.size());
    expect_same_bits(dscale.data(), scales.data(), kRows);
    expect_same_bits(doffset.data(), offsets.data(), kRows);
    out.expect_canaries();
    scales.expect_canaries();
    offsets.expect_canaries();
  }
}

TEST_P(LearnedQuant, ElementsEqualTheReference) {
  for (const std::size_t n : test::ugly_sizes()) {
    const Case data(n, n);
    for (const bool is_unsigned : {false, true}) {
      GuardedArray<float> x(data.x, n % 5), out(n, n % 4);
      GuardedArray<double> acc(std::vector<double>(n, 0.1), n % 3);
      std::vector<float> dx(n);
      std::vector<double> sums(n);
      for (std::size_t i = 0; i < n; ++i) {
        dx[i] = data.pact(i, i, is_unsigned).dx;
        sums[i] = 0.1 + data.pact(i, i, is_unsigned).dthreshold;
      }
      kernels().pact_elements(n, x.data(), data.g.data(), data.threshold.data(), is_unsigned, out.data(),
                              acc.data());
      expect_same_bits(dx.data(), out.data(), n);
      expect_same_bits(sums.data(), acc.data(), n);
      out.expect_canaries();
      acc.expect_canaries();
    }
    GuardedArray<float> out(data.x, n % 4);
    GuardedArray<double> scales(std::vector<double>(n, 0.1), n % 3), offsets(std::vector<double>(n, 0.2), 1);
    std::vector<float> dx(n);
    std::vector<double> dscale(n), doffset(n);
    for (std::size_t i = 0; i < n; ++i) {
      dx[i] = data.lsq(i, i).dx;
      dscale[i] = 0.1 + data.lsq(i, i).dscale;
      doffset[i] = 0.2 + data.lsq(i, i).doffset;
    }
    kernels().lsq_elements(n, out.data(), data.g.data(), data.params(), out.data(), scales.data(),
                           offsets.data());
    expect_same_bits(dx.data(), out.data(), n);
    expect_same_bits(dscale.data(), scales.data(), n);
    expect_same_bits(doffset.data(), offsets.data(), n);
    out.expect_canaries();
    scales.expect_canaries();
    offsets.expect_canaries();
  }
}

TEST_P(LearnedQuant, EveryLayoutAndThreadCountEqualsTheReference) {
  const ChannelExtents layouts[] = {{1, 1, 200000}, {2, 64, 500}, {1, 300, 9}, {1000, 3, 1}, {40, 512, 1},
                                    {7, 5, 2},      {5, 1, 4},    {0, 3, 4},   {3, 0, 4},    {1, 1000, 1}};
  for (const ChannelExtents& e : layouts) {
    SCOPED_TRACE(::testing::Message() << e.outer << " x " << e.channels << " x " << e.inner);
    const Case data(e.size(), e.channels);
    // The channels share qmin and qmax here; the zero point differs.
    std::vector<std::int32_t> zero_point(e.channels);
    for (std::size_t c = 0; c < e.channels; ++c) zero_point[c] = static_cast<std::int32_t>(c % 200);
    const auto lsq = [&](std::size_t i, std::size_t c) {
      return reference::lsq_backward(data.x[i], data.g[i], {data.scale[c], zero_point[c], 0, 255});
    };
    std::vector<float> pact_dx(e.size()), lsq_dx(e.size());
    std::vector<double> dthreshold(e.channels, 0.0), dscale(e.channels, 0.0), doffset(e.channels, 0.0);
    const ChannelExtents rows = normalized(e);
    for (std::size_t row = 0; row < rows.outer * rows.channels; ++row) {
      const std::size_t c = row % rows.channels, first = row * rows.inner;
      const auto sum = [&](const auto& term) { return reference::sum_of_terms(rows.inner, term); };
      for (std::size_t i = first; i < first + rows.inner; ++i) {
        pact_dx[i] = data.pact(i, c, false).dx;
        lsq_dx[i] = lsq(i, c).dx;
      }
      dthreshold[c] += sum([&](std::size_t i) { return data.pact(first + i, c, false).dthreshold; });
      dscale[c] += sum([&](std::size_t i) { return lsq(first + i, c).dscale; });
      doffset[c] += sum([&](std::size_t i) { return lsq(first + i, c).doffset; });
    }
    if (e.channels == 0) zero_point.push_back(0);
    for (const std::size_t threads : {1u, 2u, 4u}) {
      Context context(threads, isa());
      std::vector<float> dx(e.size());
      std::vector<double> sums(e.channels), offsets(e.channels);
      pact_backward(context, data.x, data.g, e, data.threshold, false, dx, sums);
      expect_same_bits(pact_dx.data(), dx.data(), dx.size());
      expect_same_bits(dthreshold.data(), sums.data(), sums.size());
      lsq_backward(context, data.x, data.g, e, {data.scale, zero_point, 0, 255}, dx, sums, offsets);
      expect_same_bits(lsq_dx.data(), dx.data(), dx.size());
      expect_same_bits(dscale.data(), sums.data(), sums.size());
      expect_same_bits(doffset.data(), offsets.data(), sums.size());
    }
  }
}

TEST(LearnedQuant, RefusesWhatMakesNoSense) {
  Context context;
  std::vector<float> x(6, 1.0f), dx(6), threshold = {1.0f};
  std::vector<double> sums(1), two(2);
  for (const float bad : {-1.0f, std::numeric_limits<float>::quiet_NaN(), INFINITY}) {
    threshold[0] = bad;
    EXPECT_THROW(pact_backward(context, x, x, whole_tensor(6), threshold, false, dx, sums), InvalidArgument);
  }
  threshold[0] = 0.0f;
  EXPECT_NO_THROW(pact_backward(context, x, x, whole_tensor(6), threshold, false, dx, sums));
  EXPECT_THROW(pact_backward(context, x, x, whole_tensor(6), threshold, false, dx, two), InvalidArgument);
  EXPECT_THROW(pact_backward(context, x, x, {1, 2, 3}, threshold, false, dx, two), InvalidArgument);
  EXPECT_THROW(pact_backward(context, x, x, whole_tensor(5), threshold, false, dx, sums), InvalidArgument);
  const std::vector<std::int32_t> zero_point = {0};
  threshold[0] = 0.1f;
  EXPECT_NO_THROW(lsq_backward(context, x, x, whole_tensor(6), {threshold, zero_point}, dx, sums, sums));
  EXPECT_THROW(lsq_backward(context, x, x, whole_tensor(6), {threshold, zero_point}, dx, sums, two),
               InvalidArgument);
  EXPECT_THROW(lsq_backward(context, x, x, whole_tensor(6), {threshold, zero_point, 5, 9}, dx, sums, sums),
               InvalidArgument);
}

}  // namespace
}  // namespace qslim
