// SPDX-License-Identifier: Apache-2.0
//
// The sums of saliency.h.
#include "qslim/reference/saliency.h"

#include <cmath>

#include "qslim/reference/reduce.h"

namespace qslim::reference {

double sum_of_magnitudes(std::size_t n, const float* x) {
  return sum_of_terms(n, [=](std::size_t i) { return std::fabs(static_cast<double>(x[i])); });
}

double sum_of_products(std::size_t n, const float* x, const float* g) {
  return sum_of_terms(n,
                      [=](std::size_t i) { return static_cast<double>(x[i]) * static_cast<double>(g[i]); });
}

double distance(std::size_t n, const float* a, const float* b) {
  double lanes[4] = {};
  for (std::size_t k = 0; k < n; ++k) {
    const double difference = static_cast<double>(a[k]) - static_cast<double>(b[k]);
    lanes[k % 4] += difference * difference;
  }
  return std::sqrt((lanes[0] + lanes[2]) + (lanes[1] + lanes[3]));
}

double sum_of_distances(std::size_t count, std::size_t n, const float* filters, std::size_t i) {
  constexpr std::size_t kBlock = 32;
  double total = 0;
  for (std::size_t begin = 0; begin < count; begin += kBlock) {
    double of_block = 0;
    for (std::size_t j = begin; j < count && j < begin + kBlock; ++j) {
      of_block += distance(n, filters + i * n, filters + j * n);
    }
    total += of_block;
  }
  return total;
}

}  // namespace qslim::reference
