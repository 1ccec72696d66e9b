// SPDX-License-Identifier: Apache-2.0
//
// Every operation and whole programs on every instruction set against the reference, bit for bit.
#include "qslim/kernels/elementwise/elementwise.h"

#include <gtest/gtest.h>

#include <ostream>
#include <string>

#include "kernels/kernel_rows.h"
#include "qslim/kernels/elementwise/table.h"
#include "qslim/reference/elementwise.h"
#include "qslim/reference/fake_quant.h"
#include "test_data.h"

namespace qslim {
namespace {

using Op = ElementwiseOp;
using test::expect_same_bits;
using test::GuardedArray;

// Equal bits, except that all NaNs are one: which operand's NaN survives is up to the instruction.
void expect_same_numbers(const std::vector<float>& expected, const float* actual, const std::string& what) {
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (std::isnan(expected[i]) && std::isnan(actual[i])) continue;
    if (std::memcmp(&expected[i], actual + i, sizeof(float)) != 0) {
      FAIL() << what << ": element " << i << " of " << expected.size() << ": expected " << expected[i]
             << ", got " << actual[i];
    }
  }
}

ElementwiseExtents flat(std::size_t operands, std::size_t n) {
  ElementwiseExtents extents;
  extents.extent[5] = n;
  extents.operand_strides.assign(operands, {0, 0, 0, 0, 0, 1});
  extents.result_strides[5] = 1;
  return extents;
}

// A row of formulas/elementwise.inc on an instruction set.
struct Operation {
  std::string name;
  const ElementwiseRow* row;
  Isa isa;
};

std::ostream& operator<<(std::ostream& os, const Operation& operation) { return os << operation.name; }

std::vector<Operation> every_operation() {
  std::vector<Operation> operations;
  for (const ElementwiseRow& row : kElementwiseRows) {
    for (const auto& [name, kernels] : test::supported_rows(row.name, kElementwiseKernels)) {
      operations.push_back({name, &row, kernels->isa});
    }
  }
  return operations;
}

class ElementwiseOperation : public testing::TestWithParam<Operation> {};
INSTANTIATE_TEST_SUITE_P(Kernels, ElementwiseOperation, testing::ValuesIn(every_operation()),
                         test::NameOfRow());

TEST_P(ElementwiseOperation, EqualsTheReference) {
  const ElementwiseRow& row = *GetParam().row;
  const float p = row.op == Op::kClip ? -1.0f : 0.2f, q = 0.5f;
  Context context(1, GetParam().isa);
  const std::vector<ElementwiseType> types(row.is_binary ? 2 : 1);
  const Elementwise program(GetParam().isa, types, {{row.op, 0, 1, p, q}}, {});
  for (const std::size_t n : test::ugly_sizes()) {
    if (n > 2000 && n != 5000) continue;
    GuardedArray<float> a(test::ugly_floats(n, unsigned(n), 0.1f, true), n % 4);
    GuardedArray<float> b(test::ugly_floats(n, unsigned(n) + 1, 0.1f, true), n % 3);
    GuardedArray<float> y(n, n % 5);
    std::vector<float> expected(n);
    for (std::size_t i = 0; i < n; ++i) {
      expected[i] = reference::elementwise(row.op, a.data()[i], b.data()[i], p, q);
    }
    const std::vector<const void*> operands =
        row.is_binary ? std::vector<const void*>{a.data(), b.data()} : std::vector<const void*>{a.data()};
    program.run(context, flat(operands.size(), n), operands, y.data());
    expect_same_numbers(expected, y.data(), program.kernel_name());
    y.expect_canaries();
  }
}

class ElementwiseProgram : public test::KernelTest<ElementwiseKernels> {};
QSLIM_TEST_KERNEL_ROWS(ElementwiseProgram, "elementwise", kElementwiseKernels);

struct Operand {
  ElementwiseType type;
  std::vector<float> floats;
  std::vector<std::uint8_t> bytes;
  const void* data() const {
    return type.dtype == DType::kFloat32 ? static_cast<const void*>(floats.data()) : bytes.data();
  }
  float at(std::ptrdiff_t i) const {
    const std::size_t index = static_cast<std::size_t>(i);
    if (type.dtype == DType::kFloat32) return floats[index];
    return (static_cast<float>(bytes[index]) - static_cast<float>(type.zero_point)) * type.scale;
  }
};

Operand make_operand(const ElementwiseType& type, std::size_t n, unsigned seed) {
  Operand operand{type, {}, {}};
  std::mt19937 random(seed);
  if (type.dtype == DType::kFloat32) {
    operand.floats = test::ugly_floats(n, seed, 0.1f, false);
  } else {
    for (std::size_t i = 0; i < n; ++i) operand.bytes.push_back(static_cast<std::uint8_t>(random()));
  }
  return operand;
}

// Runs a program element by element.
struct Reference {
  const ElementwiseExtents& extents;
  const std::vector<Operand>& operands;
  const std::vector<ElementwiseStep>& steps;
  const ElementwiseType& result_type;

  template <class Store>
  void run(const Store& store) const {
    std::size_t index[6] = {};
    std::size_t total = 1;
    for (const std::size_t extent : extents.extent) total *= extent;
    for (std::size_t i = 0; i < total; ++i) {
      std::vector<float> registers;
      for (std::size_t t = 0; t < operands.size(); ++t) {
        std::ptrdiff_t offset = 0;
        for (int axis = 0; axis < 6; ++axis)
          offset += static_cast<std::ptrdiff_t>(index[axis]) * extents.operand_strides[t][axis];
        registers.push_back(operands[t].at(offset));
      }
      for (const ElementwiseStep& step : steps) {
        registers.push_back(
            reference::elementwise(step.op, registers[step.a], registers[step.b], step.p, step.q));
      }
      std::ptrdiff_t offset = 0;
      for (int axis = 0; axis < 6; ++axis)
        offset += static_cast<std::ptrdiff_t>(index[axis]) * extents.result_strides[axis];
      store(offset, registers.back());
      for (int axis = 5; axis >= 0 && ++index[axis] == extents.extent[axis]; --axis) index[axis] = 0;
    }
  }
};

std::size_t span_of(const ElementwiseExtents& extents, const std::ptrdiff_t* strides) {
  std::size_t last = 0;
  for (int axis = 0; axis < 6; ++axis) {
    if (extents.extent[axis] == 0) return 0;
    last += (extents.extent[axis] - 1) * static_cast<std::size_t>(strides[axis]);
  }
  return last + 1;
}

template <class T>
void check_program(Isa isa, const ElementwiseExtents& extents, const std::vector<Operand>& operands,
                   const std::vector<ElementwiseStep>& steps, const ElementwiseType& result_type) {
  const std::size_t size = span_of(extents, extents.result_strides);
  const T untouched = static_cast<T>(77);
  std::vector<T> expected(size, untouched);
  const QParams p{result_type.scale, result_type.zero_point, result_type.qmin, result_type.qmax};
  Reference{extents, operands, steps, result_type}.run([&](std::ptrdiff_t i, float r) {
    if constexpr (std::is_same_v<T, float>) {
      expected[static_cast<std::size_t>(i)] = r;
    } else {
      expected[static_cast<std::size_t>(i)] =
          static_cast<T>(reference::quantize(r, p, Rounding::kTiesToEven));
    }
  });
  std::vector<const void*> data;
  std::vector<ElementwiseType> types;
  for (const Operand& operand : operands) {
    data.push_back(operand.data());
    types.push_back(operand.type);
  }
  const Elementwise program(isa, types, steps, result_type);
  SCOPED_TRACE(program.kernel_name());
  for (const std::size_t threads : {1u, 2u, 3u}) {
    Context context(threads, isa);
    GuardedArray<T> y(std::vector<T>(size, untouched), 1);
    program.run(context, extents, data, y.data());
    expect_same_bits(expected.data(), y.data(), size);
    y.expect_canaries();
    if (testing::Test::HasFailure()) return;
  }
  // The same by rows, in three pieces.
  std::size_t rows = 1;
  for (int axis = 0; axis < 5; ++axis) rows *= extents.extent[axis];
  GuardedArray<T> y(std::vector<T>(size, untouched), 1);
  const std::size_t cuts[] = {0, rows / 3, rows / 3 + rows / 2, rows};
  for (int i = 0; i < 3; ++i) program.run_rows(extents, data, y.data(), cuts[i], cuts[i + 1] - cuts[i]);
  expect_same_bits(expected.data(), y.data(), size);
  y.expect_canaries();
}

void check_all(Isa isa, const std::vector<std::vector<std::size_t>>& shapes,
               const std::vector<ElementwiseStep>& steps) {
  const ElementwiseExtents extents = broadcast_extents(shapes);
  const ElementwiseType f32, a{DType::kUint8, 0.05f, 120, 0, 255}, b{DType::kUint8, 0.02f, 7, 0, 255};
  const ElementwiseType results[] = {{DType::kUint8, 0.1f, 100, 3, 250}, f32};
  for (const std::vector<ElementwiseType>& types :
       {std::vector<ElementwiseType>{a, b, f32}, {f32, a, b}, {a, f32, f32}, {f32, f32, a}}) {
    std::vector<Operand> operands;
    for (std::size_t t = 0; t < shapes.size(); ++t) {
      operands.push_back(
          make_operand(types[t], span_of(extents, extents.operand_strides[t].data()), unsigned(t) + 5));
    }
    check_program<std::uint8_t>(isa, extents, operands, steps, results[0]);
    if (testing::Test::HasFailure()) return;
    check_program<float>(isa, extents, operands, steps, results[1]);
    if (testing::Test::HasFailure()) return;
  }
}

using Shape = std::vector<std::size_t>;

TEST_P(ElementwiseProgram, ProgramsWithBroadcastingEqualTheReference) {
  const std::vector<std::vector<Shape>> cases = {{{2, 37, 24}, {1, 1, 24}},
                                                 {{2, 37, 24}, {2, 1, 24}},
                                                 {{3, 50, 3}, {3}},
                                                 {{5, 7, 11}, {5, 7, 1}},
                                                 {{1, 9, 600}, {9, 1}},
                                                 {{1, 9, 600}, {600}},
                                                 {{40, 1}, {1, 13}},
                                                 {{2, 3, 1, 5, 1, 7}, {1, 1, 4, 1, 6, 1}},
                                                 {{1}, {1}},
                                                 {{0, 4}, {4}},
                                                 {{130, 512}, {130, 512}},
                                                 {{100000}, {1}},
                                                 {{3, 1, 200, 96}, {3, 1, 96}},
                                                 {{}, {17}}};
  for (const std::vector<Shape>& shapes : cases) {
    SCOPED_TRACE(testing::PrintToString(shapes));
    check_all(isa(), shapes, {{Op::kAdd, 0, 1}});
    check_all(isa(), shapes, {{Op::kMul, 1, 0}, {Op::kClip, 2, 0, 0.0f, 6.0f}});
    check_all(isa(), shapes,
              {{Op::kSub, 0, 1}, {Op::kSigmoid, 2}, {Op::kIdentity, 3}, {Op::kMul, 4, 0}, {Op::kMax, 5, 2}});
    if (HasFailure()) return;
  }
}

TEST_P(ElementwiseProgram, ThreeOperandsAndLongPrograms) {
  std::vector<ElementwiseStep> steps = {{Op::kMul, 0, 1}, {Op::kAdd, 3, 2}};
  for (std::uint8_t i = 0; i < 11; ++i) {
    steps.push_back({Op::kTanh, static_cast<std::uint8_t>(4 + 2 * i)});
    steps.push_back({Op::kAdd, static_cast<std::uint8_t>(5 + 2 * i), static_cast<std::uint8_t>(i % 4)});
  }
  ASSERT_EQ(steps.size(), Elementwise::kMaxSteps);
  check_all(isa(), {{4, 100, 33}, {33}, {4, 1, 33}}, steps);
  check_all(isa(), {{4, 100, 33}, {1}, {4, 100, 1}}, steps);
}

TEST_P(ElementwiseProgram, StridesOfSlices) {
  ElementwiseExtents extents;
  const std::size_t extent[] = {1, 1, 2, 5, 30, 24};
  std::copy(extent, extent + 6, extents.extent);
  extents.operand_strides = {{0, 0, 5 * 30 * 40, 30 * 40, 40, 1}, {0, 0, 0, 1, 5, 150}};
  const std::ptrdiff_t result[] = {0, 0, 5 * 30 * 64, 30 * 64, 64, 1};
  std::copy(result, result + 6, extents.result_strides);
  const ElementwiseType f32, u8{DType::kUint8, 0.05f, 120, 0, 255};
  for (const ElementwiseType& type : {f32, u8}) {
    std::vector<Operand> operands;
    for (int t = 0; t < 2; ++t) {
      operands.push_back(
          make_operand(type, span_of(extents, extents.operand_strides[t].data()), unsigned(t)));
    }
    check_program<float>(isa(), extents, operands, {{Op::kAdd, 0, 1}}, f32);
    check_program<std::uint8_t>(isa(), extents, operands, {{Op::kAdd, 0, 1}}, u8);
    operands.pop_back();
    extents.operand_strides.pop_back();
    check_program<float>(isa(), extents, operands, {}, f32);
    check_program<std::uint8_t>(isa(), extents, operands, {{Op::kHardSwish, 0}}, u8);
    extents.operand_strides.push_back({0, 0, 0, 1, 5, 150});
  }
}

TEST_P(ElementwiseProgram, AFloatRowMayStandInForTheFirstOperand) {
  const ElementwiseType u8{DType::kUint8, 0.05f, 120, 0, 255};
  for (const std::size_t columns : {3u, 24u, 700u}) {
    const std::size_t rows = 50, first = 13, count = 20;
    const ElementwiseExtents extents = broadcast_extents({{rows, columns}, {rows, columns}});
    const std::vector<float> x = test::ugly_floats(count * columns, 1, 0.1f, false);
    const Operand residual = make_operand(u8, rows * columns, 4);
    const std::vector<ElementwiseStep> steps = {{Op::kAdd, 0, 1}, {Op::kClip, 2, 0, 0.0f, 6.0f}};
    const Elementwise program(isa(), {u8, u8}, steps, u8);
    // Rows counted over merged axes as well.
    ElementwiseExtents apart = extents;
    for (int axis = 0; axis < 6; ++axis) apart.extent[axis] = 1;
    apart.extent[3] = 5, apart.extent[4] = 10, apart.extent[5] = columns;
    const std::ptrdiff_t c = static_cast<std::ptrdiff_t>(columns);
    for (auto& strides : apart.operand_strides) strides = {0, 0, 0, 10 * c, c, 1};
    apart.result_strides[3] = 10 * c, apart.result_strides[4] = c, apart.result_strides[5] = 1;
    std::vector<std::uint8_t> y(rows * columns, 1), expected(rows * columns, 1);
    const QParams p{u8.scale, u8.zero_point, u8.qmin, u8.qmax};
    for (std::size_t i = 0; i < count * columns; ++i) {
      const std::size_t at = first * columns + i;
      const float r = std::min(std::max(x[i] + residual.at(static_cast<std::ptrdiff_t>(at)), 0.0f), 6.0f);
      expected[at] = static_cast<std::uint8_t>(reference::quantize(r, p, Rounding::kTiesToEven));
    }
    const std::vector<const void*> data = {nullptr, residual.data()};
    program.run_rows(apart, data, y.data(), first, count, x.data());
    EXPECT_EQ(y, expected) << columns;
  }
}

TEST_P(ElementwiseProgram, PowersOfOneExponent) {
  const std::vector<float> x = test::ugly_floats(1001, 3, 0.1f, true);
  Context context(1, isa());
  const Elementwise program(isa(), {{}, {}}, {{Op::kPow, 0, 1}}, {});
  for (const float exponent : {2.0f, 3.0f, 0.5f, -1.0f, 0.0f}) {
    std::vector<float> y(x.size()), expected(x.size());
    for (std::size_t i = 0; i < x.size(); ++i) expected[i] = reference::pow(x[i], exponent);
    const std::vector<const void*> operands = {x.data(), &exponent};
    program.run(context, broadcast_extents({{x.size()}, {1}}), operands, y.data());
    expect_same_numbers(expected, y.data(), std::to_string(exponent));
  }
}

TEST_P(ElementwiseProgram, AFloatResultMayLieOverItsOperand) {
  Context context(2, isa());
  std::vector<float> x = test::ugly_floats(100001, 3, 0.1f, false), expected = x;
  for (float& value : expected) value = reference::elementwise(Op::kSilu, value, 0, 0, 0);
  const Elementwise program(isa(), {{}}, {{Op::kSilu, 0}}, {});
  const void* data[] = {x.data()};
  program.run(context, flat(1, x.size()), {data, 1}, x.data());
  expect_same_bits(expected.data(), x.data(), x.size());
}

TEST_P(ElementwiseProgram, TablesOfEveryByte) {
  const ElementwiseType in{DType::kUint8, 0.05f, 120, 0, 255}, out{DType::kUint8, 0.03f, 10, 0, 255};
  const Elementwise program(isa(), {in}, {{Op::kHardSwish, 0}}, out);
  EXPECT_EQ(std::string(program.kernel_name()).substr(0, 7), "lut_u8_");
  for (const std::size_t n : test::ugly_sizes()) {
    const ElementwiseExtents extents = flat(1, n);
    check_program<std::uint8_t>(isa(), extents, {make_operand(in, n, unsigned(n))}, {{Op::kHardSwish, 0}},
                                out);
    if (HasFailure()) return;
  }
}

TEST(ElementwiseProgram, RefusesWhatItCannotRun) {
  const ElementwiseType f32, u8{DType::kUint8, 0, 0, 0, 255};
  const Isa isa = Isa::kScalar;
  EXPECT_THROW(Elementwise(isa, {}, {}, f32), InvalidArgument);
  EXPECT_THROW(Elementwise(isa, {u8}, {}, f32), InvalidArgument);
  EXPECT_THROW(Elementwise(isa, {f32}, {{Op::kAdd, 0, 1}}, f32), InvalidArgument);
  EXPECT_THROW(Elementwise(isa, {f32}, {{Op::kNeg, 1}}, f32), InvalidArgument);
  EXPECT_THROW(Elementwise(isa, std::vector<ElementwiseType>(9), {}, f32), InvalidArgument);
  EXPECT_THROW(broadcast_extents({{2, 3}, {2}}), InvalidArgument);
  EXPECT_THROW(broadcast_extents({{2, 1, 2, 1, 2, 1, 2, 1}, {1, 2, 1, 2, 1, 2, 1, 2}}), InvalidArgument);
}

}  // namespace
}  // namespace qslim
