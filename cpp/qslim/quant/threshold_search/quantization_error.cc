// SPDX-License-Identifier: Apache-2.0
//
// mse, emd, ptf: the error of quantizing the histogram with scale d = T / qmax.
//
// Within a bin the density is taken as uniform, and the integrals over it are taken exactly, so a bin may be
// wider than a step (16 bits) as well as narrower. In steps, t = x / d and n = min(floor(t + 1/2), qmax):
//
//   integral of (t - q(t))^2 from 0 to t  =  n / 12 + (t - n)^3 / 3
//   integral of q(t)                      =  n t - n^2 / 2
//   integral of q(t)^2                    =  n^2 t - n (4 n^2 - 1) / 6
//
// Signed integers are symmetric, so negative values behave as their magnitudes do; unsigned, they become 0.
#include <cmath>
#include <limits>

#include "qslim/quant/threshold_search/rules.h"

namespace qslim::threshold {
namespace {

using Eigen::ArrayXd;
using Eigen::Index;

// One more edge than bins: 0, width, 2 * width, ...
ArrayXd edges_of(const Magnitudes& m) {
  const Index bins = m.positive.size();
  return ArrayXd::LinSpaced(bins + 1, 0.0, static_cast<double>(bins)) * m.width;
}

// Mean over each bin of a function whose integral from 0 is known at the edges.
ArrayXd bin_means(const ArrayXd& integral, double width) {
  const Index bins = integral.size() - 1;
  return (integral.tail(bins) - integral.head(bins)) / width;
}

struct Steps {
  ArrayXd t, n;
  Steps(const ArrayXd& edges, double step, int qmax)
      : t(edges / step), n((t + 0.5).floor().min(static_cast<double>(qmax))) {}
};

template <class Loss>
double least_loss(double abs_max, const ArrayXd& fractions, const Loss& loss) {
  double least = std::numeric_limits<double>::infinity(), best = abs_max;
  for (const double fraction : fractions) {
    const double candidate = fraction * abs_max, value = loss(candidate);
    if (value <= least) {  // fractions rise: ties go to the larger threshold
      least = value;
      best = candidate;
    }
  }
  return best;
}

// Integral of (x - q(x))^2 from 0 to each edge.
ArrayXd squared_error_integral(const ArrayXd& edges, double step, int qmax) {
  const Steps s(edges, step, qmax);
  return (s.n / 12.0 + (s.t - s.n).cube() / 3.0) * (step * step * step);
}

}  // namespace

double squared_error(const Magnitudes& m, double step, int down, int up) {
  const ArrayXd edges = edges_of(m);
  const double above = (m.positive * bin_means(squared_error_integral(edges, step, up), m.width)).sum();
  const double below = (m.negative * bin_means(squared_error_integral(edges, step, down), m.width)).sum();
  return (above + below) / m.both().sum();
}

double least_squares(const Magnitudes& m, int qmax, bool is_unsigned, const ArrayXd& fractions) {
  const ArrayXd edges = edges_of(m);
  // Unsigned, the error of negative values is the same for every threshold.
  const ArrayXd counts = is_unsigned ? m.positive : m.both();
  return least_loss(m.abs_max, fractions, [&](double threshold) {
    const ArrayXd integral = squared_error_integral(edges, threshold / qmax, qmax);
    return (counts * bin_means(integral, m.width)).sum();
  });
}

double earth_mover(const Magnitudes& m, int qmax, bool is_unsigned, const ArrayXd& fractions) {
  const ArrayXd edges = edges_of(m), both = m.both();
  const ArrayXd sided = m.positive - m.negative;
  const double count = both.sum();
  const double mean = (sided * bin_means(edges.square() / 2.0, m.width)).sum() / count;
  const double square = (both * bin_means(edges.cube() / 3.0, m.width)).sum() / count;
  const double deviation = std::sqrt(std::max(0.0, square - mean * mean));
  return least_loss(m.abs_max, fractions, [&](double threshold) {
    const double step = threshold / qmax;
    const Steps s(edges, step, qmax);
    const ArrayXd first = bin_means(s.n * s.t - s.n.square() / 2.0, m.width) * (step * step);
    const ArrayXd second = bin_means(s.n.square() * s.t - s.n * (4.0 * s.n.square() - 1.0) / 6.0, m.width) *
                           (step * step * step);
    const double q_mean = ((is_unsigned ? m.positive : sided) * first).sum() / count;
    const double q_square = ((is_unsigned ? m.positive : both) * second).sum() / count;
    const double q_deviation = std::sqrt(std::max(0.0, q_square - q_mean * q_mean));
    return std::fabs(mean - q_mean) + std::fabs(deviation - q_deviation);
  });
}

}  // namespace qslim::threshold
