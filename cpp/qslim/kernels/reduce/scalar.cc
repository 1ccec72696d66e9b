// SPDX-License-Identifier: Apache-2.0
//
// Reductions without vector intrinsics; the fallback of every machine. Contract: kernels.h.
#include <cstring>

#include "qslim/kernels/reduce/kernels.h"

namespace qslim {
namespace {

std::uint32_t abs_bits(float x) noexcept {
  std::uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits & 0x7fffffffu;
}

std::int32_t order_key(float x) noexcept {
  std::int32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits ^ ((bits >> 31) & 0x7fffffff);
}

struct Itself {
  double operator()(double v) const noexcept { return v; }
};
struct Square {
  double operator()(double v) const noexcept { return v * v; }
};

template <class Term>
double sum_of_block(std::size_t n, const float* x) noexcept {
  const Term term;
  double lanes[kSumLanes] = {};
  std::size_t i = 0;
  for (; i + kSumLanes <= n; i += kSumLanes) {
    for (std::size_t j = 0; j < kSumLanes; ++j) lanes[j] += term(x[i + j]);
  }
  for (std::size_t j = 0; i + j < n; ++j) lanes[j] += term(x[i + j]);
  for (std::size_t half = kSumLanes / 2; half > 0; half /= 2) {
    for (std::size_t j = 0; j < half; ++j) lanes[j] += lanes[j + half];
  }
  return lanes[0];
}

template <class Term>
void sum_rows(std::size_t rows, std::size_t inner, const float* x, double* acc) noexcept {
  for (std::size_t r = 0; r < rows; ++r, x += inner) {
    double total = 0;
    for (std::size_t begin = 0; begin < inner; begin += kSumBlock) {
      total += sum_of_block<Term>(inner - begin < kSumBlock ? inner - begin : kSumBlock, x + begin);
    }
    acc[r] += total;
  }
}

template <class Term>
void sum_elements(std::size_t n, const float* x, double* acc) noexcept {
  const Term term;
  for (std::size_t i = 0; i < n; ++i) acc[i] += term(x[i]);
}

}  // namespace

void abs_max_f32_rows_scalar(std::size_t rows, std::size_t inner, const float* x,
                             std::uint32_t* acc) noexcept {
  for (std::size_t r = 0; r < rows; ++r, x += inner) {
    std::uint32_t largest = acc[r];
    for (std::size_t i = 0; i < inner; ++i) largest = abs_bits(x[i]) > largest ? abs_bits(x[i]) : largest;
    acc[r] = largest;
  }
}

void abs_max_f32_elements_scalar(std::size_t n, const float* x, std::uint32_t* acc) noexcept {
  for (std::size_t i = 0; i < n; ++i) acc[i] = abs_bits(x[i]) > acc[i] ? abs_bits(x[i]) : acc[i];
}

void min_max_f32_rows_scalar(std::size_t rows, std::size_t inner, const float* x, std::int32_t* min_acc,
                             std::int32_t* max_acc) noexcept {
  for (std::size_t r = 0; r < rows; ++r, x += inner) {
    std::int32_t least = min_acc[r], largest = max_acc[r];
    for (std::size_t i = 0; i < inner; ++i) {
      const std::int32_t key = order_key(x[i]);
      least = key < least ? key : least;
      largest = key > largest ? key : largest;
    }
    min_acc[r] = least;
    max_acc[r] = largest;
  }
}

void min_max_f32_elements_scalar(std::size_t n, const float* x, std::int32_t* min_acc,
                                 std::int32_t* max_acc) noexcept {
  for (std::size_t i = 0; i < n; ++i) {
    const std::int32_t key = order_key(x[i]);
    min_acc[i] = key < min_acc[i] ? key : min_acc[i];
    max_acc[i] = key > max_acc[i] ? key : max_acc[i];
  }
}

void sum_f32_rows_scalar(std::size_t rows, std::size_t inner, const float* x, double* acc) noexcept {
  sum_rows<Itself>(rows, inner, x, acc);
}

void sum_f32_elements_scalar(std::size_t n, const float* x, double* acc) noexcept {
  sum_elements<Itself>(n, x, acc);
}

void sum_of_squares_f32_rows_scalar(std::size_t rows, std::size_t inner, const float* x,
                                    double* acc) noexcept {
  sum_rows<Square>(rows, inner, x, acc);
}

void sum_of_squares_f32_elements_scalar(std::size_t n, const float* x, double* acc) noexcept {
  sum_elements<Square>(n, x, acc);
}

}  // namespace qslim
