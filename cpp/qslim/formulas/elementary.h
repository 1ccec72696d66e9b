// SPDX-License-Identifier: Apache-2.0
//
// Elementary functions of floats from additions and multiplications only: no table, no branch, no fused
// multiply-add, so a loop over any of them but pow vectorizes and gives the same bits on every instruction
// set.
//
// Largest error against the true value, over every finite float whose result is normal (measured by
// ElementaryFunctions in elementary_test.cc on a dense sample, in units of the last place):
//   exp 1.0   log 0.8   tanh 1.4   sigmoid 2.4   erf 1.2   log1p_01 1.3   pow 0.51
//   sin 0.51   cos 0.51
// NaN gives NaN. exp(-inf) = 0, exp(x > 88.73) = inf, subnormal results within one of their steps;
// log(0) = -inf, log(x < 0) = NaN, log(inf) = inf; tanh and erf of +-inf = +-1; sigmoid(-inf) = 0.
// pow follows C99; squares and cubes are products (a cube within 1 ulp). sin and cos of +-inf = NaN.
//
// Internal linkage on purpose: per-ISA files include this.
// Sources: Moshier, Cephes (exp, log, tanh: expf.c, logf.c, tanhf.c); Juffa's erff (two minimax polynomials,
// NVIDIA forums and stackoverflow.com/questions/35148198); Payne and Hanek 1983 (sin, cos of large numbers).
#pragma once

#include <cstdint>

#include "qslim/formulas/inline.h"

namespace qslim {
namespace {

QSLIM_INLINE std::uint32_t bits_of(float x) noexcept {
  std::uint32_t bits;
  __builtin_memcpy(&bits, &x, sizeof bits);
  return bits;
}

QSLIM_INLINE float float_of(std::uint32_t bits) noexcept {
  float x;
  __builtin_memcpy(&x, &bits, sizeof x);
  return x;
}

QSLIM_INLINE float magnitude(float x) noexcept { return float_of(bits_of(x) & 0x7fffffffu); }
QSLIM_INLINE float with_sign_of(float x, float sign) noexcept {
  return float_of(bits_of(x) | (bits_of(sign) & 0x80000000u));
}

inline constexpr float kRoundingMagic = 0x1.8p23f;  // |v| < 2^22: v + it has no fraction, rounds to even
inline constexpr float kLn2Hi = 0.693359375f;       // 10 bits: times an exponent it is exact
inline constexpr float kLn2Lo = -2.12194440e-4f;

QSLIM_INLINE float exp_f32(float x) noexcept {
  float v = x < -104.0f ? -104.0f : x;
  v = v > 89.0f ? 89.0f : v;
  const float t = v * 0x1.715476p+0f + kRoundingMagic;
  const float n = t - kRoundingMagic;
  const float r = (v - n * kLn2Hi) - n * kLn2Lo;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  // 2^n in two factors: alone it may be out of range where the product is not.
  const std::int32_t k = static_cast<std::int32_t>(bits_of(t) - bits_of(kRoundingMagic));
  const std::int32_t half = k >> 1;
  const float a = float_of(static_cast<std::uint32_t>(half + 127) << 23);
  const float b = float_of(static_cast<std::uint32_t>(k - half + 127) << 23);
  return p * a * b;
}

// log of a positive normal or subnormal number; anything else gives nonsense.
QSLIM_INLINE float log_positive_f32(float x) noexcept {
  const bool tiny = x < 0x1p-126f;
  const float s = tiny ? x * 0x1p23f : x;
  constexpr std::uint32_t kSqrtHalf = 0x3f3504f3u;  // mantissa from [sqrt(1/2), sqrt(2))
  const std::uint32_t offset = bits_of(s) - kSqrtHalf;
  const std::int32_t exponent = (static_cast<std::int32_t>(offset) >> 23) - (tiny ? 23 : 0);
  const float e = static_cast<float>(exponent);
  const float m = float_of((offset & 0x7fffffu) + kSqrtHalf) - 1.0f;
  const float z = m * m;
  float p = 7.0376836292e-2f;
  p = p * m + -1.1514610310e-1f;
  p = p * m + 1.1676998740e-1f;
  p = p * m + -1.2420140846e-1f;
  p = p * m + 1.4249322787e-1f;
  p = p * m + -1.6668057665e-1f;
  p = p * m + 2.0000714765e-1f;
  p = p * m + -2.4999993993e-1f;
  p = p * m + 3.3333331174e-1f;
  float y = p * m * z;
  y += e * kLn2Lo;
  y -= 0.5f * z;
  return (m + y) + e * kLn2Hi;
}

QSLIM_INLINE float log_f32(float x) noexcept {
  const float inf = __builtin_inff();
  float y = log_positive_f32(x);
  y = x < inf ? y : x;  // also NaN
  y = x == 0.0f ? -inf : y;
  return x < 0.0f ? __builtin_nanf("") : y;
}

// log(1 + z) for z in [0, 1].
QSLIM_INLINE float log1p_01_f32(float z) noexcept {
  const float u = 1.0f + z;
  return log_positive_f32(u) + (z - (u - 1.0f)) / u;
}

QSLIM_INLINE float tanh_f32(float x) noexcept {
  const float t = magnitude(x), z = x * x;
  float p = -5.70498872745e-3f;
  p = p * z + 2.06390887954e-2f;
  p = p * z + -5.37397155531e-2f;
  p = p * z + 1.33314422036e-1f;
  p = p * z + -3.33332819422e-1f;
  const float small = p * z * t + t;
  const float large = 1.0f - 2.0f / (exp_f32(t + t) + 1.0f);
  return with_sign_of(t < 0.625f ? small : large, x);
}

QSLIM_INLINE float sigmoid_f32(float x) noexcept {
  const float z = exp_f32(-magnitude(x));
  return (x < 0.0f ? z : 1.0f) / (1.0f + z);
}

QSLIM_INLINE float erf_f32(float x) noexcept {
  const float magnitude_of_x = magnitude(x);
  const float t = magnitude_of_x > 4.0f ? 4.0f : magnitude_of_x, s = t * t;
  float r = -1.72853470e-5f * t + 3.83197126e-4f;
  const float u = -3.88396438e-3f * t + 2.42546219e-2f;
  r = r * s + u;
  r = r * t + -1.06777877e-1f;
  r = r * t + -6.34846687e-1f;
  r = r * t + -1.28717512e-1f;
  r = r * t - t;
  const float large = with_sign_of(1.0f - exp_f32(r), x);
  float p = -5.96761703e-4f;
  p = p * s + 4.99119423e-3f;
  p = p * s + -2.67681349e-2f;
  p = p * s + 1.12819925e-1f;
  p = p * s + -3.76125336e-1f;
  p = p * s + 1.28379166e-1f;
  return t > 0.927734375f ? large : p * x + x;
}

// In double: the product b * log2(a) has to keep its fraction.
QSLIM_INLINE float pow_f32(float a, float b) noexcept {
  const float inf = __builtin_inff();
  const float base = magnitude(a);
  // log2(base) = e + log2(m), m in [sqrt(1/2), sqrt(2)), log m = 2 atanh((m - 1) / (m + 1)).
  const bool tiny = base < 0x1p-126f;
  const float scaled = tiny ? base * 0x1p23f : base;
  constexpr std::uint32_t kSqrtHalf = 0x3f3504f3u;
  const std::uint32_t offset = bits_of(scaled) - kSqrtHalf;
  const std::int32_t exponent = (static_cast<std::int32_t>(offset) >> 23) - (tiny ? 23 : 0);
  const double m = static_cast<double>(float_of((offset & 0x7fffffu) + kSqrtHalf));
  const double s = (m - 1.0) / (m + 1.0), s2 = s * s;
  double l = 1.0 / 15;
  l = l * s2 + 1.0 / 13;
  l = l * s2 + 1.0 / 11;
  l = l * s2 + 1.0 / 9;
  l = l * s2 + 1.0 / 7;
  l = l * s2 + 1.0 / 5;
  l = l * s2 + 1.0 / 3;
  l = l * s2 + 1.0;
  const double log2_base = static_cast<double>(exponent) + l * s * 2.885390081777926815;
  // 2^v = 2^n * exp((v - n) ln 2).
  double v = static_cast<double>(b) * log2_base;
  v = v < -200.0 ? -200.0 : v;
  v = v > 200.0 ? 200.0 : v;
  const double t = v + 0x1.8p52;  // n in its lowest bits
  const double n = t - 0x1.8p52;
  const double f = (v - n) * 0.693147180559945309;
  double p = 1.0 / 3628800;
  p = p * f + 1.0 / 362880;
  p = p * f + 1.0 / 40320;
  p = p * f + 1.0 / 5040;
  p = p * f + 1.0 / 720;
  p = p * f + 1.0 / 120;
  p = p * f + 1.0 / 24;
  p = p * f + 1.0 / 6;
  p = p * f + 0.5;
  p = p * f + 1.0;
  p = p * f + 1.0;
  std::uint64_t power_bits;
  __builtin_memcpy(&power_bits, &t, sizeof t);
  power_bits = (power_bits + 1023) << 52;
  double power;
  __builtin_memcpy(&power, &power_bits, sizeof power);
  float y = static_cast<float>(p * power);
  // The edges: base 0 and inf, exponent +-inf. GCC makes branches of these and does not vectorize.
  const float up = b > 0.0f ? inf : 0.0f, down = b > 0.0f ? 0.0f : inf;
  y = base == 0.0f ? down : y;
  y = base == inf ? up : y;
  const float exponent_magnitude = magnitude(b);
  float at_infinity = base > 1.0f ? up : down;
  at_infinity = base == 1.0f ? 1.0f : at_infinity;
  y = exponent_magnitude == inf ? at_infinity : y;
  // Negative bases: odd integers keep the sign, fractions have no value. From 2^24 on every float is even.
  float safe = exponent_magnitude < 0x1p24f ? b : 0.0f;
  const std::int32_t whole = static_cast<std::int32_t>(safe);
  const float fraction = safe - static_cast<float>(whole);
  const std::uint32_t odd = static_cast<std::uint32_t>(whole) << 31;
  y = float_of(bits_of(y) ^ (bits_of(a) & odd));
  const float of_fraction = fraction == 0.0f ? y : __builtin_nanf("");
  const float of_negative = base == inf ? magnitude(y) : of_fraction;
  const float of_negative_or_infinity = fraction == 0.0f ? y : of_negative;
  y = a < 0.0f ? of_negative_or_infinity : y;
  y = a != a ? a : y;
  y = b != b ? b : y;
  y = b == 2.0f ? a * a : y;  // so that a loop may look for them and multiply
  y = b == 3.0f ? a * a * a : y;
  y = b == 0.0f ? 1.0f : y;
  return a == 1.0f ? 1.0f : y;
}

// sin(r + quadrant * pi / 2), r in [-pi/4, pi/4], quadrant 0, 1, 2 or 3. In double: Taylor's series, whose
// first terms left out are below 1e-11.
QSLIM_INLINE float sin_of_quadrant(double r, double quadrant) noexcept {
  const double z = r * r;
  double s = -1.0 / 39916800;
  s = s * z + 1.0 / 362880;
  s = s * z + -1.0 / 5040;
  s = s * z + 1.0 / 120;
  s = s * z + -1.0 / 6;
  s = r * (1.0 + s * z);  // which keeps the sign of a zero
  double c = 1.0 / 479001600;
  c = c * z + -1.0 / 3628800;
  c = c * z + 1.0 / 40320;
  c = c * z + -1.0 / 720;
  c = c * z + 1.0 / 24;
  c = c * z + -0.5;
  c = c * z + 1.0;
  const bool is_odd = (quadrant == 1.0) | (quadrant == 3.0);
  const double y = is_odd ? c : s;
  return static_cast<float>(quadrant >= 2.0 ? -y : y);
}

// From here on a multiple of pi / 2 is no longer exact in three parts.
inline constexpr float kLargeAngle = 0x1p30f;

// sin(x + quarter_turns * pi / 2) for |x| < kLargeAngle, quarter_turns 0 or 1; NaN for infinities.
QSLIM_INLINE float sin_f32(float x, double quarter_turns) noexcept {
  const double v = static_cast<double>(x);
  const double t = v * 0.636619772367581343 + 0x1.8p52;
  const double n = t - 0x1.8p52;
  // pi / 2 in parts of 22, 22 and 53 bits: n has at most 31, so the products with the first two are exact.
  const double r = ((v - n * 0x1.921fb4p+0) - n * 0x1.4442d0p-24) - n * 0x1.8469898cc5170p-48;
  const double turns = n + quarter_turns;
  return sin_of_quadrant(r, turns - 4.0 * __builtin_floor(turns * 0.25));
}

// The same for finite |x| >= kLargeAngle: x / (pi / 2) modulo 4, of the bits of 2 / pi that matter.
QSLIM_INLINE float sin_of_large_f32(float x, double quarter_turns) noexcept {
  constexpr std::uint32_t kTwoOverPi[] = {0xa2f9836eu, 0x4e441529u, 0xfc2757d1u, 0xf534ddc0u,
                                          0xdb629599u, 0x3c439041u, 0xfe5163abu, 0xdebbc561u};
  const std::uint32_t bits = bits_of(x);
  const std::uint64_t mantissa = (bits & 0x7fffffu) | 0x800000u;
  const std::uint32_t exponent = ((bits >> 23) & 0xffu) - 150u;  // |x| = mantissa * 2^exponent
  // Bits of 2 / pi before this one make multiples of 4; 96 of them are taken.
  const std::uint32_t first = exponent - 2u, word = first / 32u, shift = first % 32u;
  std::uint32_t w[3];
  for (std::uint32_t i = 0; i < 3; ++i) {
    const std::uint64_t pair = (std::uint64_t{kTwoOverPi[word + i]} << 32) | kTwoOverPi[word + i + 1];
    w[i] = static_cast<std::uint32_t>(pair >> (32u - shift));
  }
  const std::uint64_t low = mantissa * w[2];
  const std::uint64_t middle = mantissa * w[1] + (low >> 32);
  const std::uint64_t high = mantissa * w[0] + (middle >> 32);  // modulo 2^32: two bits, then a fraction
  const std::uint32_t top = static_cast<std::uint32_t>(high);
  double quadrant = static_cast<double>(top >> 30);
  double fraction = static_cast<double>(top & 0x3fffffffu) * 0x1p-30 +
                    static_cast<double>(static_cast<std::uint32_t>(middle)) * 0x1p-62;
  if (fraction >= 0.5) {
    fraction -= 1.0;
    quadrant += 1.0;
  }
  // sin(-a + q) of the quadrants counted downwards.
  const double sign = (bits >> 31) != 0 ? -1.0 : 1.0;
  const double turns = sign * quadrant + quarter_turns;
  return sin_of_quadrant(sign * fraction * 1.57079632679489662, turns - 4.0 * __builtin_floor(turns * 0.25));
}

// Either of them. Branches: loops look for large angles once, before they begin.
QSLIM_INLINE float sin_of_any_f32(float x, double quarter_turns) noexcept {
  const bool is_large = magnitude(x) >= kLargeAngle && magnitude(x) < __builtin_inff();
  return is_large ? sin_of_large_f32(x, quarter_turns) : sin_f32(x, quarter_turns);
}

QSLIM_INLINE float clip_f32(float x, float lo, float hi) noexcept {
  const float v = x < lo ? lo : x;
  return v > hi ? hi : v;
}

// x tanh(log(1 + e)), e = exp(x), which is x * e (e + 2) / (e (e + 2) + 2); beyond 20 it is x.
QSLIM_INLINE float mish_f32(float x) noexcept {
  const float e = exp_f32(x > 20.0f ? 20.0f : x), t = e * (e + 2.0f);
  return x * (t / (t + 2.0f));
}

}  // namespace
}  // namespace qslim
