// SPDX-License-Identifier: Apache-2.0
//
// The rules behind find_threshold, each on the histogram it needs. Internal to threshold_search.
//
// Magnitudes: counts of |x| in bins of `width` from 0; the last bin is not empty and holds abs_max.
#pragma once

#include <Eigen/Core>

namespace qslim::threshold {

struct Magnitudes {
  Eigen::ArrayXd positive;  // counts of x >= 0
  Eigen::ArrayXd negative;  // counts of x < 0
  double width;
  double abs_max;

  Eigen::ArrayXd both() const { return positive + negative; }
};

double percentile(const Magnitudes& magnitudes, double percent);
double kl(const Magnitudes& magnitudes, int levels);
double least_squares(const Magnitudes& magnitudes, int qmax, bool is_unsigned,
                     const Eigen::ArrayXd& fractions);
// Mean squared error over all elements of steps of `step` with `up` of them above 0 and `down` below.
double squared_error(const Magnitudes& magnitudes, double step, int down, int up);
double earth_mover(const Magnitudes& magnitudes, int qmax, bool is_unsigned, const Eigen::ArrayXd& fractions);

}  // namespace qslim::threshold
