// SPDX-License-Identifier: Apache-2.0
//
// Elementary functions against those of the standard library in double.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "kernels/ulps.h"
#include "qslim/reference/elementwise.h"

namespace qslim {
namespace {

using test::ulps;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
const float kNan = std::numeric_limits<float>::quiet_NaN();

// Every float of [lo, hi] whose bits are a multiple of `step` away from lo's.
double largest_error(float lo, float hi, std::uint32_t step, float (*function)(float) noexcept,
                     double (*truth)(double)) {
  double worst = 0;
  for (const float sign : {1.0f, -1.0f}) {
    if (sign < 0 && lo >= 0 && hi >= 0 && function(-1.0f) != function(-1.0f)) continue;  // log
    for (std::uint32_t bits = 0; bits <= 0x7f800000u; bits += step) {
      float magnitude;
      std::memcpy(&magnitude, &bits, 4);
      const float x = sign * magnitude;
      if (x < lo || x > hi) continue;
      worst = std::max(worst, ulps(function(x), truth(x)));
    }
  }
  return worst;
}

TEST(ElementaryFunctions, ErrorsAreWhatTheHeaderSays) {
  constexpr std::uint32_t kStep = 4099;
  EXPECT_LT(largest_error(-kInfinity, kInfinity, kStep, reference::exp, [](double x) { return std::exp(x); }),
            1.0);
  EXPECT_LT(largest_error(-104, 89, 1013, reference::exp, [](double x) { return std::exp(x); }), 1.0);
  EXPECT_LT(largest_error(0, kInfinity, 1013, reference::log, [](double x) { return std::log(x); }), 0.8);
  EXPECT_LT(
      largest_error(-kInfinity, kInfinity, kStep, reference::tanh, [](double x) { return std::tanh(x); }),
      1.4);
  EXPECT_LT(largest_error(-kInfinity, kInfinity, kStep, reference::sigmoid,
                          [](double x) { return 1 / (1 + std::exp(-x)); }),
            2.4);
  EXPECT_LT(largest_error(-kInfinity, kInfinity, kStep, reference::erf, [](double x) { return std::erf(x); }),
            1.2);
  EXPECT_LT(largest_error(0, 1, kStep, reference::log1p_01, [](double x) { return std::log1p(x); }), 1.3);
  for (const float range : {10.0f, std::numeric_limits<float>::max()}) {
    const std::uint32_t step = range == 10.0f ? 1013 : kStep;
    EXPECT_LT(largest_error(-range, range, step, reference::sin, [](double x) { return std::sin(x); }), 0.51);
    EXPECT_LT(largest_error(-range, range, step, reference::cos, [](double x) { return std::cos(x); }), 0.51);
  }
}

TEST(ElementaryFunctions, Edges) {
  EXPECT_EQ(reference::exp(-kInfinity), 0.0f);
  EXPECT_EQ(reference::exp(kInfinity), kInfinity);
  EXPECT_EQ(reference::exp(0.0f), 1.0f);
  EXPECT_EQ(reference::exp(-103.97f), std::numeric_limits<float>::denorm_min());
  EXPECT_EQ(reference::log(0.0f), -kInfinity);
  EXPECT_EQ(reference::log(-0.0f), -kInfinity);
  EXPECT_EQ(reference::log(kInfinity), kInfinity);
  EXPECT_EQ(reference::log(1.0f), 0.0f);
  EXPECT_TRUE(std::isnan(reference::log(-1.0f)));
  EXPECT_TRUE(std::isnan(reference::log(-kInfinity)));
  for (const auto function : {reference::tanh, reference::erf}) {
    EXPECT_EQ(function(kInfinity), 1.0f);
    EXPECT_EQ(function(-kInfinity), -1.0f);
    EXPECT_TRUE(std::signbit(function(-0.0f)));
  }
  EXPECT_EQ(reference::sigmoid(-kInfinity), 0.0f);
  EXPECT_EQ(reference::sigmoid(kInfinity), 1.0f);
  EXPECT_EQ(reference::sigmoid(0.0f), 0.5f);
  EXPECT_EQ(reference::cos(0.0f), 1.0f);
  EXPECT_TRUE(std::signbit(reference::sin(-0.0f)));
  for (const auto function : {reference::sin, reference::cos}) {
    EXPECT_TRUE(std::isnan(function(kInfinity)));
    EXPECT_TRUE(std::isnan(function(-kInfinity)));
    EXPECT_TRUE(std::isnan(function(kNan)));
  }
  for (const auto function :
       {reference::exp, reference::log, reference::tanh, reference::sigmoid, reference::erf}) {
    EXPECT_TRUE(std::isnan(function(kNan)));
  }
}

TEST(ElementaryFunctions, Pow) {
  const std::vector<float> edges = {0.0f, -0.0f, 1.0f, -1.0f,  0.5f,      2.0f,       -2.0f,
                                    3.0f, -3.0f, 2.5f, 1e-40f, kInfinity, -kInfinity, kNan};
  for (const float a : edges) {
    for (const float b : edges) {
      const float expected = std::pow(a, b), actual = reference::pow(a, b);
      if (std::isnan(expected)) {
        EXPECT_TRUE(std::isnan(actual)) << a << " ^ " << b;
      } else {
        EXPECT_LT(ulps(actual, std::pow(double{a}, double{b})), b == 3 ? 1 : 0.51) << a << " ^ " << b;
        EXPECT_EQ(std::signbit(expected), std::signbit(actual)) << a << " ^ " << b;
      }
    }
  }
  std::mt19937 random(3);
  std::uniform_real_distribution<float> log_base(-20, 20), exponent(-6, 6);
  double worst = 0;
  for (int i = 0; i < 200000; ++i) {
    const float a = std::exp(log_base(random)), b = exponent(random);
    worst = std::max(worst, ulps(reference::pow(a, b), std::pow(double{a}, double{b})));
  }
  EXPECT_LT(worst, 0.51);
}

}  // namespace
}  // namespace qslim
