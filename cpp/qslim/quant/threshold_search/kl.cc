// SPDX-License-Identifier: Apache-2.0
//
// KL: the cut of the histogram of |x| that loses the least information.
//
//   for every cut i of n (about 2048) coarse bins, i >= levels, with hist[i - 1] > 0, and i = n:
//     P = hist[0 .. i), what lies beyond added to P[i - 1]
//     Q = bins 0 and i - 1 as they are in hist, and those between them summed into `levels` - 2 groups, group g
//         from bin 1 + g * (i - 2) / (levels - 2) on, each sum spread evenly over the group's bins with P > 0
//     KL(P || Q) = sum p * (log(Qsum * p) - log(Psum * q)) / Psum
//   threshold = (i + 0.5) * width of the first i with the least KL; abs_max for i = n
//
// q is one number per group, so  sum p log q = sum over groups of (group's sum of p) * log q,  and the other
// sums are prefix sums: a cut costs `levels` logarithms instead of 2 i.
//
// Many elements may be 0 exactly, or lie at the bound of a ReLU6. Both 0 and the threshold are among the
// integers, so neither spike is spread: if they were, the size of its group would decide on the cut.
//
// Source: S. Migacz, 8-bit inference with TensorRT, GTC 2017. It differs from PaddleSlim 2.6.0
// (cal_kl_threshold), which spreads all bins, gives every group int(i / levels) of them and the rest to the
// last, and never tries to keep everything: of a ReLU6 it keeps 3.98, where the groups come out even. Nor does
// it try to cut below the middle, where one outlier may leave all the rest.
#include <algorithm>
#include <cmath>
#include <limits>

#include "qslim/quant/threshold_search/rules.h"

namespace qslim::threshold {
namespace {

using Eigen::ArrayXd;
using Eigen::Index;

constexpr Index kCoarseBins = 2048;

ArrayXd sum_pairs(const ArrayXd& counts) {
  ArrayXd sums(counts.size() / 2 + counts.size() % 2);
  for (Index i = 0; i < sums.size(); ++i) {
    sums[i] = counts[2 * i] + (2 * i + 1 < counts.size() ? counts[2 * i + 1] : 0.0);
  }
  return sums;
}

// [size + 1]: sum of the first i terms.
ArrayXd prefix_sums(const ArrayXd& terms) {
  ArrayXd sums(terms.size() + 1);
  sums[0] = 0;
  for (Index i = 0; i < terms.size(); ++i) sums[i + 1] = sums[i] + terms[i];
  return sums;
}

double x_log_x(double x) { return x > 0 ? x * std::log(x) : 0.0; }

struct Prefixes {
  ArrayXd counts, filled, x_log_x;
};

double divergence(const ArrayXd& hist, const Prefixes& before, Index cut, Index levels) {
  const Index inner = std::max<Index>(cut - 2, 0), groups = std::min(std::max<Index>(levels - 2, 1), inner);
  const double total = before.counts[hist.size()], kept = before.counts[cut], outliers = total - kept;
  const double last_p = hist[cut - 1] + outliers;
  const double p_log_p = before.x_log_x[cut - 1] + x_log_x(last_p);
  // q over a group is (sum of hist) / (filled bins).
  ArrayXd sums(groups), filled(groups);
  for (Index g = 0; g < groups; ++g) {
    const Index begin = 1 + g * inner / groups, end = 1 + (g + 1) * inner / groups;
    sums[g] = before.counts[end] - before.counts[begin];
    filled[g] = before.filled[end] - before.filled[begin];
  }
  const ArrayXd log_q = (sums > 0).select((sums.max(1.0) / filled.max(1.0)).log(), 0.0);
  const double spikes = (cut > 1 ? x_log_x(hist[0]) : 0.0) + last_p * std::log(hist[cut - 1]);
  const double p_log_q = (sums * log_q).sum() + spikes;
  // Psum = total, Qsum = kept: q spreads the kept counts, no more.
  return (p_log_p + total * std::log(kept) - p_log_q - total * std::log(total)) / total;
}

}  // namespace

double kl(const Magnitudes& magnitudes, int levels) {
  ArrayXd hist = magnitudes.both();
  double width = magnitudes.width;
  while (hist.size() > kCoarseBins) {
    hist = sum_pairs(hist);
    width *= 2;
  }
  const Index bins = hist.size(), start = std::clamp<Index>(levels, 2, bins);
  const Prefixes before{prefix_sums(hist), prefix_sums((hist > 0).cast<double>()),
                        prefix_sums(hist.unaryExpr([](double x) { return x_log_x(x); }))};
  double least = std::numeric_limits<double>::infinity();
  Index best = bins;  // the last bin is not empty
  for (Index cut = start; cut <= bins; ++cut) {
    if (hist[cut - 1] == 0) continue;
    const double loss = divergence(hist, before, cut, levels);
    if (loss < least) {
      least = loss;
      best = cut;
    }
  }
  return best < bins ? (static_cast<double>(best) + 0.5) * width : magnitudes.abs_max;
}

}  // namespace qslim::threshold
