// SPDX-License-Identifier: Apache-2.0
//
// Copies of any strides against plain loops, with every kernel and 1 to 3 threads.
#include "qslim/kernels/movement/movement.h"

#include <gtest/gtest.h>

#include <functional>

#include "kernels/kernel_rows.h"
#include "qslim/kernels/movement/table.h"
#include "qslim/reference/fake_quant.h"
#include "test_data.h"

namespace qslim {
namespace {

using test::expect_same_bits;
using test::GuardedArray;

class StridedCopy : public test::KernelTest<MovementKernels> {};
QSLIM_TEST_KERNEL_ROWS(StridedCopy, "movement", kMovementKernels);

class NchwF32ToNhwcU8 : public test::KernelTest<MovementKernels> {};
QSLIM_TEST_KERNEL_ROWS(NchwF32ToNhwcU8, "movement", kMovementKernels);

template <class T>
std::vector<T> numbered(std::size_t n) {
  std::vector<T> values(n);
  for (std::size_t i = 0; i < n; ++i) values[i] = static_cast<T>(i * 2654435761u + 12345u);
  return values;
}

void for_each_thread_count(Isa isa, const std::function<void(Context&)>& body) {
  for (const std::size_t threads : {1u, 2u, 3u}) {
    SCOPED_TRACE(testing::Message() << threads << " threads");
    Context context(threads, isa);
    body(context);
    if (testing::Test::HasFailure()) return;
  }
}

std::size_t span_of(const CopyExtents& extents, const std::ptrdiff_t* strides) {
  std::size_t last = 0;
  for (std::size_t axis = 0; axis < CopyExtents::kAxes; ++axis) {
    if (extents.extent[axis] == 0) return 0;
    last += (extents.extent[axis] - 1) * static_cast<std::size_t>(strides[axis]);
  }
  return last + 1;
}

template <class T>
void check_copy(Isa isa, const CopyExtents& extents) {
  const std::vector<T> values = numbered<T>(span_of(extents, extents.source_strides));
  const std::size_t size = span_of(extents, extents.destination_strides);
  std::vector<T> expected(size, T{7}), filled(size, T{7});
  std::size_t total = 1;
  for (const std::size_t extent : extents.extent) total *= extent;
  const T value = 99;
  for (std::size_t i = 0; i < total; ++i) {
    std::size_t from = 0, to = 0, rest = i;
    for (std::size_t axis = CopyExtents::kAxes; axis-- > 0; rest /= extents.extent[axis]) {
      const std::size_t index = rest % extents.extent[axis];
      from += index * static_cast<std::size_t>(extents.source_strides[axis]);
      to += index * static_cast<std::size_t>(extents.destination_strides[axis]);
    }
    expected[to] = values[from];
    filled[to] = value;
  }
  for_each_thread_count(isa, [&](Context& context) {
    GuardedArray<T> x(values, 1), y(std::vector<T>(size, T{7}), 3), z(std::vector<T>(size, T{7}), 3);
    strided_copy(context, sizeof(T), extents, x.data(), y.data());
    expect_same_bits(expected.data(), y.data(), size);
    y.expect_canaries();
    strided_fill(context, sizeof(T), extents, &value, z.data());
    expect_same_bits(filled.data(), z.data(), size);
    z.expect_canaries();
  });
}

void check_copy_of_every_size(Isa isa, const CopyExtents& extents) {
  check_copy<std::uint8_t>(isa, extents);
  check_copy<std::uint32_t>(isa, extents);
  check_copy<std::uint64_t>(isa, extents);
}

CopyExtents make(const std::vector<std::size_t>& extent, const std::vector<std::ptrdiff_t>& source,
                 const std::vector<std::ptrdiff_t>& destination) {
  CopyExtents extents;
  std::copy(extent.begin(), extent.end(), extents.extent);
  std::copy(source.begin(), source.end(), extents.source_strides);
  std::copy(destination.begin(), destination.end(), extents.destination_strides);
  return extents;
}

TEST_P(StridedCopy, Transpositions) {
  for (const std::size_t rows : {1u, 2u, 7u, 8u, 9u, 16u, 31u, 65u, 200u}) {
    for (const std::size_t columns : {1u, 3u, 8u, 15u, 16u, 24u, 67u, 130u}) {
      const std::ptrdiff_t r = static_cast<std::ptrdiff_t>(rows), c = static_cast<std::ptrdiff_t>(columns);
      check_copy_of_every_size(isa(), make({2, rows, columns}, {r * c, c, 1}, {r * c, 1, r}));
      check_copy_of_every_size(isa(), make({rows, columns}, {c + 5, 1}, {1, r + 3}));
      if (HasFailure()) return;
    }
  }
}

TEST_P(StridedCopy, LinesStridesAndRepetition) {
  check_copy_of_every_size(isa(), make({4, 100, 96}, {9600, 96, 1}, {160 * 100, 160, 1}));  // concatenation
  check_copy_of_every_size(isa(), make({4, 100, 3}, {300, 3, 1}, {800, 8, 1}));             // short lines
  check_copy_of_every_size(isa(), make({200000}, {1}, {1}));                                // one line
  check_copy_of_every_size(isa(), make({5, 6, 7}, {0, 7, 1}, {42, 7, 1}));                  // expansion
  check_copy_of_every_size(isa(), make({5, 6, 7}, {6, 1, 0}, {42, 7, 1}));
  check_copy_of_every_size(isa(), make({50, 60}, {120, 2}, {60, 1}));                    // step 2
  check_copy_of_every_size(isa(), make({3, 4, 5, 6}, {120, 30, 6, 1}, {1, 3, 72, 12}));  // permutation
  check_copy_of_every_size(isa(), make({2, 3, 4, 5, 6, 2, 3, 2}, {4320, 1440, 360, 72, 12, 6, 2, 1},
                                       {1, 2, 6, 24, 120, 720, 1440, 4320}));
  check_copy_of_every_size(isa(), make({}, {}, {}));
  check_copy_of_every_size(isa(), make({3, 0, 5}, {5, 5, 1}, {5, 5, 1}));
}

TEST_P(StridedCopy, RunsBackwards) {
  Context context(1, isa());
  const std::vector<std::uint32_t> x = numbered<std::uint32_t>(35);
  std::vector<std::uint32_t> y(35), expected(35);
  for (std::size_t r = 0; r < 5; ++r) {
    for (std::size_t c = 0; c < 7; ++c) expected[r * 7 + c] = x[(4 - r) * 7 + 6 - c];
  }
  strided_copy(context, 4, make({5, 7}, {-7, -1}, {7, 1}), x.data() + 34, y.data());
  EXPECT_EQ(y, expected);
  EXPECT_THROW(strided_copy(context, 2, make({5}, {1}, {1}), x.data(), y.data()), InvalidArgument);
}

TEST(Gather, TakesRowsAndCountsFromTheEnd) {
  const std::vector<std::uint32_t> x = numbered<std::uint32_t>(3 * 5 * 7);
  const std::vector<std::int64_t> indices = {4, 0, -1, -5};
  std::vector<std::uint32_t> expected;
  for (std::size_t o = 0; o < 3; ++o) {
    for (const std::size_t i : {4u, 0u, 4u, 0u}) {
      for (std::size_t k = 0; k < 7; ++k) expected.push_back(x[(o * 5 + i) * 7 + k]);
    }
  }
  Context context(2);
  std::vector<std::uint32_t> y(expected.size());
  gather(context, 4, 3, 5, 7, x.data(), indices, y.data());
  EXPECT_EQ(y, expected);
  const std::vector<std::int64_t> outside = {5};
  EXPECT_THROW(gather(context, 4, 3, 5, 7, x.data(), outside, y.data()), InvalidArgument);
}

TEST_P(NchwF32ToNhwcU8, EqualsTheReference) {
  const QParams choices[] = {{0.1f, 100, 0, 255}, {0.3f, 0, 4, 200}};
  const std::size_t cases[][4] = {{1, 3, 50000, 3}, {2, 3, 1, 3},  {2, 3, 47, 4},   {1, 1, 1000, 1},
                                  {1, 4, 300, 4},   {2, 1, 70, 3}, {3, 40, 33, 40}, {1, 65, 257, 80},
                                  {1, 16, 15, 16},  {0, 3, 5, 3}};
  for (const auto& sizes : cases) {
    const ImageExtents extents{sizes[0], sizes[1], sizes[2], sizes[3]};
    const std::size_t floats = sizes[0] * sizes[1] * sizes[2], bytes = sizes[0] * sizes[2] * sizes[3];
    for (const QParams& params : choices) {
      const std::vector<float> x = test::ugly_floats(floats, 5, 0.1f, true);
      std::vector<std::uint8_t> expected(bytes, 77);
      for (std::size_t n = 0; n < sizes[0]; ++n) {
        for (std::size_t c = 0; c < sizes[1]; ++c) {
          for (std::size_t p = 0; p < sizes[2]; ++p) {
            const std::size_t f = (n * sizes[1] + c) * sizes[2] + p, b = (n * sizes[2] + p) * sizes[3] + c;
            expected[b] = static_cast<std::uint8_t>(reference::quantize(x[f], params, Rounding::kTiesToEven));
          }
        }
      }
      for_each_thread_count(isa(), [&](Context& context) {
        GuardedArray<std::uint8_t> y(std::vector<std::uint8_t>(bytes, 77), 5);
        nchw_f32_to_nhwc_u8(context, extents, x.data(), params, y.data());
        expect_same_bits(expected.data(), y.data(), bytes);
        y.expect_canaries();
      });
      if (HasFailure()) return;
    }
  }
}

}  // namespace
}  // namespace qslim
