// SPDX-License-Identifier: Apache-2.0
//
// Integer arithmetic of ExactSum.
#include "qslim/quant/statistics/exact_sum.h"

#include <cmath>
#include <cstring>

#include "qslim/core/error.h"

namespace qslim {
namespace {

__extension__ using Uint128 = unsigned __int128;

constexpr int kUnit = -149;           // limbs count multiples of 2^-149
constexpr std::size_t kFraction = 2;  // extra limbs of a quotient: 128 bits below the unit

}  // namespace

void ExactSum::add_at(std::size_t limb, std::uint64_t value) noexcept {
  for (; value != 0 && limb < kLimbs; ++limb) {
    const Uint128 sum = Uint128{limbs_[limb]} + value;
    limbs_[limb] = static_cast<std::uint64_t>(sum);
    value = static_cast<std::uint64_t>(sum >> 64);
  }
}

void ExactSum::add(float x) noexcept {
  std::uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  const std::uint32_t exponent = (bits >> 23) & 0xff;
  QSLIM_DCHECK(bits < 0x7f800000u || bits == 0x80000000u);
  const std::uint64_t significand = (bits & 0x7fffffu) | (exponent != 0 ? 0x800000u : 0u);
  const std::uint32_t shift = exponent != 0 ? exponent - 1 : 0;
  const Uint128 placed = Uint128{significand} << (shift % 64);
  add_at(shift / 64, static_cast<std::uint64_t>(placed));
  add_at(shift / 64 + 1, static_cast<std::uint64_t>(placed >> 64));
}

void ExactSum::add(const ExactSum& other) noexcept {
  const Limbs addend = other.limbs_;  // `other` may be *this
  for (std::size_t i = 0; i < kLimbs; ++i) add_at(i, addend[i]);
}

double ExactSum::mean(std::uint64_t count) const noexcept {
  QSLIM_DCHECK(count > 0);
  std::uint64_t quotient[kLimbs + kFraction];
  Uint128 remainder = 0;
  for (std::size_t i = kLimbs + kFraction; i-- > 0;) {
    const Uint128 dividend = remainder << 64 | (i >= kFraction ? limbs_[i - kFraction] : 0);
    quotient[i] = static_cast<std::uint64_t>(dividend / count);
    remainder = dividend % count;
  }
  std::size_t top = kLimbs + kFraction;
  while (top > 0 && quotient[top - 1] == 0) --top;
  if (top == 0) return 0.0;
  // A sum is 0 or at least one unit, so the quotient has at least 128 - 64 bits: the 64 below are all there.
  const std::uint64_t next = top > 1 ? quotient[top - 2] : 0;
  Uint128 leading = Uint128{quotient[top - 1]} << 64 | next;
  int exponent = kUnit + 64 * (static_cast<int>(top) - 2 - static_cast<int>(kFraction));
  bool sticky = remainder != 0;
  for (std::size_t i = 0; i + 2 < top; ++i) sticky = sticky || quotient[i] != 0;
  while (leading >> 54 != 0) {  // 53 bits of result and one to round by
    sticky = sticky || (leading & 1) != 0;
    leading >>= 1;
    ++exponent;
  }
  const bool half = (leading & 1) != 0, odd = (leading & 2) != 0;
  leading = (leading >> 1) + (half && (sticky || odd) ? 1 : 0);
  return std::ldexp(static_cast<double>(static_cast<std::uint64_t>(leading)), exponent + 1);
}

}  // namespace qslim
