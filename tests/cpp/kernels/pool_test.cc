// SPDX-License-Identifier: Apache-2.0
//
// Every pooling kernel against loops that follow the header, on 1 to 3 threads.
#include "qslim/kernels/pool/pool.h"

#include <gtest/gtest.h>

#include "kernels/kernel_rows.h"
#include "qslim/kernels/pool/table.h"
#include "qslim/reference/fake_quant.h"
#include "test_data.h"

namespace qslim {
namespace {

using test::expect_same_bits;
using test::GuardedArray;

class MaxPool : public test::KernelTest<PoolKernels> {};
QSLIM_TEST_KERNEL_ROWS(MaxPool, "pool", kPoolKernels);

class AveragePool : public test::KernelTest<PoolKernels> {};
QSLIM_TEST_KERNEL_ROWS(AveragePool, "pool", kPoolKernels);

struct Case {
  PoolGeometry geometry;
  PoolExtents extents;
};

// Calls pixel(offset into x) for every pixel inside the window, in order.
template <class Pixel>
void for_each_tap(const Case& c, std::size_t n, std::size_t oh, std::size_t ow, const Pixel& pixel) {
  const PoolGeometry& g = c.geometry;
  const PoolExtents& e = c.extents;
  for (std::size_t kh = 0; kh < g.kernel_h; ++kh) {
    for (std::size_t kw = 0; kw < g.kernel_w; ++kw) {
      const std::ptrdiff_t ih = static_cast<std::ptrdiff_t>(oh * g.stride_h + kh * g.dilation_h) - e.pad_top;
      const std::ptrdiff_t iw = static_cast<std::ptrdiff_t>(ow * g.stride_w + kw * g.dilation_w) - e.pad_left;
      if (ih < 0 || iw < 0 || ih >= static_cast<std::ptrdiff_t>(e.in_h) ||
          iw >= static_cast<std::ptrdiff_t>(e.in_w))
        continue;
      pixel(((n * e.in_h + static_cast<std::size_t>(ih)) * e.in_w + static_cast<std::size_t>(iw)) *
            e.x_pixel_stride);
    }
  }
}

template <class Output>
void for_each_output(const Case& c, const Output& output) {
  const PoolExtents& e = c.extents;
  for (std::size_t n = 0; n < e.batch; ++n) {
    for (std::size_t oh = 0; oh < e.out_h; ++oh) {
      for (std::size_t ow = 0; ow < e.out_w; ++ow) {
        for (std::size_t ch = 0; ch < c.geometry.channels; ++ch) {
          output(n, oh, ow, ch, n * e.y_image_stride + oh * e.y_row_stride + ow * e.y_pixel_stride + ch);
        }
      }
    }
  }
}

Case make(std::size_t channels, std::size_t batch, std::size_t in_h, std::size_t in_w, std::size_t kernel,
          std::size_t stride, std::ptrdiff_t pad, std::size_t dilation, bool count_includes_pad,
          bool strided) {
  Case c;
  c.geometry = {channels, kernel, kernel, stride, stride, dilation, dilation, count_includes_pad};
  const std::size_t covered = (kernel - 1) * dilation + 1, twice = 2 * static_cast<std::size_t>(pad);
  const auto out = [&](std::size_t in) {
    return (in + twice - covered + stride - 1) / stride + 1;
  };  // ceil mode
  c.extents = contiguous_pool_extents(c.geometry, batch, in_h, in_w, out(in_h), out(in_w), pad, pad);
  if (strided) {
    c.extents.x_pixel_stride += 3;
    c.extents.y_pixel_stride += 5;
    c.extents.y_row_stride = c.extents.out_w * c.extents.y_pixel_stride + 2;
    c.extents.y_image_stride = c.extents.out_h * c.extents.y_row_stride + 1;
  }
  return c;
}

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const std::size_t channels : {1u, 3u, 16u, 31u, 64u, 300u}) {
    for (const bool strided : {false, true}) {
      all.push_back(make(channels, 2, 11, 9, 3, 2, 1, 1, false, strided));
      all.push_back(make(channels, 1, 8, 8, 2, 2, 0, 1, true, strided));
      all.push_back(make(channels, 1, 13, 14, 5, 1, 2, 1, true, strided));
      all.push_back(make(channels, 1, 13, 14, 3, 2, 2, 2, false, strided));
      all.push_back(make(channels, 3, 7, 7, 7, 1, 0, 1, false, strided));  // global
    }
  }
  all.push_back(make(64, 1, 56, 56, 3, 2, 1, 1, false, false));
  all.push_back(make(520, 2, 20, 20, 20, 1, 0, 1, false, false));
  Case empty = make(5, 1, 4, 4, 2, 2, 0, 1, false, false);
  empty.extents.pad_top = -9;  // every window is outside
  all.push_back(empty);
  all.push_back(make(4, 0, 4, 4, 2, 2, 0, 1, false, false));
  return all;
}

template <class T, class Run>
void check(Isa isa, const Case& c, const std::vector<T>& expected, const Run& run) {
  for (const std::size_t threads : {1u, 2u, 3u}) {
    Context context(threads, isa);
    GuardedArray<T> y(std::vector<T>(expected.size(), T{7}), 3);
    run(context, y.data());
    expect_same_bits(expected.data(), y.data(), expected.size());
    y.expect_canaries();
    if (testing::Test::HasFailure()) {
      FAIL() << threads << " threads, " << c.geometry.channels << " channels, kernel " << c.geometry.kernel_h;
    }
  }
}

std::size_t x_size(const Case& c) {
  return c.extents.batch * c.extents.in_h * c.extents.in_w * c.extents.x_pixel_stride;
}
std::size_t y_size(const Case& c) { return c.extents.batch * c.extents.y_image_stride; }

std::vector<std::uint8_t> bytes(std::size_t n) {
  std::mt19937 random(7);
  std::vector<std::uint8_t> x(n);
  for (std::uint8_t& value : x) value = static_cast<std::uint8_t>(random());
  return x;
}

TEST_P(MaxPool, EqualsTheReference) {
  for (const Case& c : cases()) {
    const std::vector<std::uint8_t> x = bytes(x_size(c));
    std::vector<std::uint8_t> expected(y_size(c), 7);
    for_each_output(c, [&](std::size_t n, std::size_t oh, std::size_t ow, std::size_t ch, std::size_t at) {
      expected[at] = 0;
      for_each_tap(c, n, oh, ow, [&](std::size_t i) { expected[at] = std::max(expected[at], x[i + ch]); });
    });
    check(isa(), c, expected,
          [&](Context& context, std::uint8_t* y) { max_pool(context, c.geometry, c.extents, x.data(), y); });

    std::vector<float> f = test::ugly_floats(x_size(c), 3, 0.1f, false);
    for (float& value : f) value = value == 0 ? 0.0f : value;  // of two zeros either may come out
    std::vector<float> expected_f(y_size(c), 7.0f);
    for_each_output(c, [&](std::size_t n, std::size_t oh, std::size_t ow, std::size_t ch, std::size_t at) {
      expected_f[at] = -std::numeric_limits<float>::infinity();
      for_each_tap(c, n, oh, ow,
                   [&](std::size_t i) { expected_f[at] = std::max(expected_f[at], f[i + ch]); });
    });
    check(isa(), c, expected_f,
          [&](Context& context, float* y) { max_pool(context, c.geometry, c.extents, f.data(), y); });
    if (HasFailure()) return;
  }
}

TEST_P(MaxPool, ANanWins) {
  const Case c = make(20, 1, 5, 5, 5, 1, 0, 1, false, false);
  Context context(1, isa());
  for (std::size_t at = 0; at < 25; ++at) {
    std::vector<float> x(x_size(c), 1.0f), y(20);
    x[at * 20 + 4] = std::numeric_limits<float>::quiet_NaN();
    max_pool(context, c.geometry, c.extents, x.data(), y.data());
    for (std::size_t ch = 0; ch < 20; ++ch) EXPECT_EQ(std::isnan(y[ch]), ch == 4);
  }
}

TEST_P(AveragePool, EqualsTheReference) {
  const QParams in{0.05f, 100, 0, 255}, out{0.04f, 90, 2, 250};
  for (const Case& c : cases()) {
    const float full = static_cast<float>(c.geometry.kernel_h * c.geometry.kernel_w);
    const std::vector<std::uint8_t> x = bytes(x_size(c));
    const std::vector<float> f = test::ugly_floats(x_size(c), 3, 0.1f, false);
    std::vector<float> expected_f(y_size(c), 7.0f), expected_real(y_size(c), 7.0f);
    std::vector<std::uint8_t> expected_q(y_size(c), 7);
    for_each_output(c, [&](std::size_t n, std::size_t oh, std::size_t ow, std::size_t ch, std::size_t at) {
      float sum = 0, count = 0;
      std::int32_t acc = 0;
      for_each_tap(c, n, oh, ow, [&](std::size_t i) {
        sum += f[i + ch];
        acc += x[i + ch] - in.zero_point;
        count += 1;
      });
      const float by = c.geometry.count_includes_pad ? full : std::max(count, 1.0f);
      expected_f[at] = sum / by;
      expected_real[at] = static_cast<float>(acc) * (in.scale / by);
      expected_q[at] =
          static_cast<std::uint8_t>(reference::quantize(expected_real[at], out, Rounding::kTiesToEven));
    });
    check(isa(), c, expected_f,
          [&](Context& context, float* y) { average_pool(context, c.geometry, c.extents, f.data(), y); });
    check(isa(), c, expected_real,
          [&](Context& context, float* y) { average_pool(context, c.geometry, c.extents, x.data(), in, y); });
    check(isa(), c, expected_q, [&](Context& context, std::uint8_t* y) {
      average_pool(context, c.geometry, c.extents, x.data(), in, y, out);
    });
    if (HasFailure()) return;
  }
}

TEST(Pool, RefusesStridesBelowTheChannels) {
  Case c = make(8, 1, 4, 4, 2, 2, 0, 1, false, false);
  c.extents.x_pixel_stride = 7;
  Context context;
  std::vector<float> x(200), y(200);
  EXPECT_THROW(max_pool(context, c.geometry, c.extents, x.data(), y.data()), InvalidArgument);
  EXPECT_THROW(average_pool(context, c.geometry, c.extents, x.data(), y.data()), InvalidArgument);
}

}  // namespace
}  // namespace qslim
