// SPDX-License-Identifier: Apache-2.0
//
// Filter saliency in its plainest form: the specification of its kernels, and of the order of every sum.
//
//   l1_norm, l2_norm, taylor   sums over one run of a filter in the order of reduce.h; a filter that lies in
//                              several runs (an axis that is not the first) adds them in order
//   distance                   lane k % 4 adds (a[k] - b[k])^2 in rising k; lanes 0 + 2, 1 + 3, then both
//   fpgm                       the distances to each 32 filters are added in rising order, then those sums
//
// Everything is double; kernels/saliency/saliency.h says what is done with the sums.
#pragma once

#include <cstddef>

namespace qslim::reference {

double sum_of_magnitudes(std::size_t n, const float* x);
double sum_of_products(std::size_t n, const float* x, const float* g);
double distance(std::size_t n, const float* a, const float* b);
// filters: [count, n]. The sum of the distances of filter i to all filters.
double sum_of_distances(std::size_t count, std::size_t n, const float* filters, std::size_t i);

}  // namespace qslim::reference
