// SPDX-License-Identifier: Apache-2.0
//
// ExactSum: a sum of non-negative floats without any rounding.
//
// A finite float is an integer of 24 bits times 2^-149 * 2^shift, shift <= 253: the sum is kept as one
// integer of 384 bits in units of 2^-149, with room for 2^107 addends. Order and grouping cannot matter; only
// mean() rounds, once. The idea is Kulisch's long accumulator.
#pragma once

#include <array>
#include <cstdint>

namespace qslim {

class ExactSum {
 public:
  static constexpr std::size_t kLimbs = 6;
  using Limbs = std::array<std::uint64_t, kLimbs>;  // least significant first

  ExactSum() noexcept = default;
  explicit ExactSum(const Limbs& limbs) noexcept : limbs_(limbs) {}

  void add(float x) noexcept;  // finite, >= 0
  void add(const ExactSum& other) noexcept;
  // sum / count, rounded once to double, ties to even; count > 0.
  double mean(std::uint64_t count) const noexcept;

  const Limbs& limbs() const noexcept { return limbs_; }
  bool operator==(const ExactSum& other) const noexcept { return limbs_ == other.limbs_; }

 private:
  void add_at(std::size_t limb, std::uint64_t value) noexcept;

  Limbs limbs_{};
};

}  // namespace qslim
