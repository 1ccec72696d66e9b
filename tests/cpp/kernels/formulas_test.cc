// SPDX-License-Identifier: Apache-2.0
//
// Every row of formulas/elementwise.inc against the function of its name, in double.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <ostream>
#include <random>
#include <string>

#include "kernels/ulps.h"
#include "qslim/reference/elementwise.h"

namespace qslim {

void PrintTo(const ElementwiseRow& row, std::ostream* os) { *os << row.name; }

namespace {

constexpr double kHalfUlpOfOne = 0x1p-24;  // of numbers from 1 to 2

double no_error(double) { return 0; }

// The function that a row computes, and its error: of every result either the error in units of the last
// place or the absolute error is within its bound. The bounds are the largest errors measured on every 211th
// float, rounded up. p is 0.2 and q 0.5; of Clip, p is -1.
struct Definition {
  double (*function)(double x, double y);
  double ulps;
  double (*absolute)(double x) = no_error;
  double largest = std::numeric_limits<float>::max();  // the magnitude up to which the bounds hold
};

// x * s, where s is a sigmoid that becomes subnormal below -87: x times the error of s, 0.6 of its last
// place.
double error_of_subnormal_factor(double x) { return x < -87 ? 0.6 * std::fabs(x) * 0x1p-149 : 0; }

double clip(double x, double lo, double hi) { return std::min(std::max(x, lo), hi); }

const std::map<std::string, Definition>& definitions() {
  using D = double;
  static const std::map<std::string, Definition> kDefinitions = {
      {"Abs", {[](D x, D) { return std::fabs(x); }, 0}},
      {"Add", {[](D x, D y) { return x + y; }, 0.5}},
      {"Ceil", {[](D x, D) { return std::ceil(x); }, 0}},
      // As Elu, and x / alpha is rounded before.
      {"Celu",
       {[](D x, D) { return x < 0 ? D{0.2f} * std::expm1(x / D{0.2f}) : x; }, 1.6,
        [](D x) { return x < 0 ? 0.2 * 2.2 * kHalfUlpOfOne : 0; }}},
      {"Clip", {[](D x, D) { return clip(x, -1.0, 0.5); }, 0}},
      {"Cos", {[](D x, D) { return std::cos(x); }, 0.51}},
      {"Div", {[](D x, D y) { return x / y; }, 0.5}},
      // exp(x) - 1 keeps the error of exp, which is one of numbers beside 1, however small the difference.
      {"Elu",
       {[](D x, D) { return x < 0 ? D{0.2f} * std::expm1(x) : x; }, 1.6,
        [](D x) { return x < 0 ? 0.2 * 1.4 * kHalfUlpOfOne : 0; }}},
      {"Erf", {[](D x, D) { return std::erf(x); }, 1.2}},
      {"Exp", {[](D x, D) { return std::exp(x); }, 1.0}},
      {"Floor", {[](D x, D) { return std::floor(x); }, 0}},
      // 1 + erf(x) and 1 + tanh(x) keep the error of a number beside -1; x multiplies it.
      {"Gelu",
       {[](D x, D) { return 0.5 * x * std::erfc(-x * std::sqrt(0.5)); }, 1.7,
        [](D x) { return x < 0 ? 0.9 * std::fabs(x) * kHalfUlpOfOne : 0; }}},
      {"GeluTanh",
       {[](D x, D) {
          const D argument = std::sqrt(2 / 3.14159265358979324) * (x + 0.044715 * x * x * x);
          return x / (1 + std::exp(-2 * argument));  // 0.5 * x * (1 + tanh(argument))
        },
        1.8, [](D x) { return x < 0 ? 1.1 * std::fabs(x) * kHalfUlpOfOne : 0; }}},
      // x * p + q crosses 0 with the error of its summands.
      {"HardSigmoid",
       {[](D x, D) { return clip(x * D{0.2f} + 0.5, 0, 1); }, 0.8, [](D) { return 0.8 * kHalfUlpOfOne; }}},
      // x * 6 comes before / 6: above a sixth of the largest float it is infinity.
      {"HardSwish",
       {[](D x, D) { return x * clip(x + 3, 0, 6) / 6; }, 2.1, no_error,
        std::numeric_limits<float>::max() / 6.001}},
      {"Identity", {[](D x, D) { return x; }, 0}},
      {"LeakyRelu", {[](D x, D) { return x < 0 ? x * D{0.2f} : x; }, 0.5}},
      {"Log", {[](D x, D) { return std::log(x); }, 0.8}},
      {"Max", {[](D x, D y) { return std::max(x, y); }, 0}},
      {"Min", {[](D x, D y) { return std::min(x, y); }, 0}},
      {"Mish", {[](D x, D) { return x * std::tanh(std::log1p(std::exp(x))); }, 4, error_of_subnormal_factor}},
      {"Mul", {[](D x, D y) { return x * y; }, 0.5}},
      {"Neg", {[](D x, D) { return -x; }, 0}},
      {"PRelu", {[](D x, D y) { return x < 0 ? x * y : x; }, 0.5}},
      {"Pow", {[](D x, D y) { return std::pow(x, y); }, 0.51}},
      {"Reciprocal", {[](D x, D) { return 1 / x; }, 0.5}},
      {"Round", {[](D x, D) { return std::nearbyint(x); }, 0}},
      {"Sigmoid", {[](D x, D) { return 1 / (1 + std::exp(-x)); }, 2.3}},
      {"Silu", {[](D x, D) { return x / (1 + std::exp(-x)); }, 3, error_of_subnormal_factor}},
      {"Sin", {[](D x, D) { return std::sin(x); }, 0.51}},
      {"Softplus", {[](D x, D) { return std::max(x, 0.0) + std::log1p(std::exp(-std::fabs(x))); }, 1.9}},
      {"Sqrt", {[](D x, D) { return std::sqrt(x); }, 0.5}},
      {"Square", {[](D x, D) { return x * x; }, 0.5}},
      {"Sub", {[](D x, D y) { return x - y; }, 0.5}},
      {"Tanh", {[](D x, D) { return std::tanh(x); }, 1.3}}};
  return kDefinitions;
}

class Formula : public testing::TestWithParam<ElementwiseRow> {
 protected:
  static constexpr float kQ = 0.5f;
  float p() const { return GetParam().op == ElementwiseOp::kClip ? -1.0f : 0.2f; }
  float compute(float a, float b) const { return reference::elementwise(GetParam().op, a, b, p(), kQ); }

  void check(const Definition& definition, float a, float b) const {
    const float actual = compute(a, b);
    const double expected = definition.function(a, b), error = test::ulps(actual, expected);
    if (error <= definition.ulps || std::fabs(actual - expected) <= definition.absolute(a)) return;
    FAIL() << a << " and " << b << ": expected " << expected << ", got " << actual << ", an error of "
           << error << " ulps";
  }
};

TEST_P(Formula, IsItsFunctionWithinTheBound) {
  const auto found = definitions().find(GetParam().name);
  ASSERT_NE(found, definitions().end()) << "the row needs an entry in definitions()";
  const Definition& definition = found->second;
  for (int i = -400; i <= 400; ++i) {
    check(definition, static_cast<float>(i) * 0.0371f, static_cast<float>(i % 7) - 2.9f);
    if (HasFailure()) return;
  }
  if (GetParam().is_binary) {
    std::mt19937 random(7);
    std::uniform_real_distribution<float> magnitude(-40, 40);
    const auto number = [&] { return (random() % 2 == 0 ? 1.0f : -1.0f) * std::exp2(magnitude(random)); };
    for (int i = 0; i < 200000 && !HasFailure(); ++i) check(definition, number(), number());
    return;
  }
  constexpr std::uint32_t kInfinityBits = 0x7f800000u, kStep = 4099;
  for (std::uint32_t bits = 0; bits < kInfinityBits; bits += kStep) {
    float x;
    std::memcpy(&x, &bits, sizeof x);
    if (x > definition.largest) break;
    check(definition, x, 0);
    check(definition, -x, 0);
    if (HasFailure()) return;
  }
}

TEST_P(Formula, PassesNanOn) {
  EXPECT_TRUE(std::isnan(compute(std::numeric_limits<float>::quiet_NaN(), 1.5f)));
}

INSTANTIATE_TEST_SUITE_P(Formulas, Formula, testing::ValuesIn(kElementwiseRows),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace qslim
