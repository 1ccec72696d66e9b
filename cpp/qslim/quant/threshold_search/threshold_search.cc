// SPDX-License-Identifier: Apache-2.0
//
// Names, checks and the simple rules; kl.cc and quantization_error.cc hold the searches.
#include "qslim/quant/threshold_search/threshold_search.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "qslim/core/error.h"
#include "qslim/core/qparams.h"
#include "qslim/quant/threshold_search/rules.h"

namespace qslim {
namespace {

struct Name {
  const char* name;
  ThresholdAlgo algo;
};

constexpr Name kNames[] = {{"abs_max", ThresholdAlgo::kAbsMax}, {"avg", ThresholdAlgo::kAvg},
                           {"hist", ThresholdAlgo::kHist},      {"KL", ThresholdAlgo::kKl},
                           {"mse", ThresholdAlgo::kMse},        {"emd", ThresholdAlgo::kEmd},
                           {"ptf", ThresholdAlgo::kPtf},        {"min_max", ThresholdAlgo::kMinMax}};

threshold::Magnitudes magnitudes_of(const TensorStatistics& statistics) {
  const auto positive = statistics.positive_histogram(), negative = statistics.negative_histogram();
  std::size_t used = positive.size();
  while (used > 1 && positive[used - 1] == 0 && negative[used - 1] == 0) --used;
  threshold::Magnitudes magnitudes{Eigen::ArrayXd(used), Eigen::ArrayXd(used), statistics.bin_width(),
                                   statistics.abs_max()};
  for (std::size_t i = 0; i < used; ++i) {
    magnitudes.positive[static_cast<Eigen::Index>(i)] = static_cast<double>(positive[i]);
    magnitudes.negative[static_cast<Eigen::Index>(i)] = static_cast<double>(negative[i]);
  }
  return magnitudes;
}

// 0.30, 0.32, .. 1.00, each rounded once.
Eigen::ArrayXd search_fractions() { return Eigen::ArrayXd::LinSpaced(36, 30.0, 100.0).round() / 100.0; }

Eigen::ArrayXd power_of_two_fractions() { return Eigen::Array4d(0.125, 0.25, 0.5, 1.0); }

double search(const TensorStatistics& statistics, ThresholdAlgo algo, const ThresholdOptions& options) {
  const int qmax = grid_of(options.quant_bits, options.is_unsigned).qmax;
  switch (algo) {
    case ThresholdAlgo::kAbsMax:
    case ThresholdAlgo::kMinMax: break;
    case ThresholdAlgo::kAvg: return statistics.average_abs_max();
    case ThresholdAlgo::kHist: return threshold::percentile(magnitudes_of(statistics), options.hist_percent);
    case ThresholdAlgo::kKl: return threshold::kl(magnitudes_of(statistics), qmax);
    case ThresholdAlgo::kMse:
      return threshold::least_squares(magnitudes_of(statistics), qmax, options.is_unsigned,
                                      search_fractions());
    case ThresholdAlgo::kEmd:
      return threshold::earth_mover(magnitudes_of(statistics), qmax, options.is_unsigned, search_fractions());
    case ThresholdAlgo::kPtf:
      return threshold::least_squares(magnitudes_of(statistics), qmax, options.is_unsigned,
                                      power_of_two_fractions());
  }
  return statistics.abs_max();
}

}  // namespace

ThresholdAlgo threshold_algo_from_name(std::string_view name) {
  std::string known;
  for (const Name& entry : kNames) {
    if (name == entry.name) return entry.algo;
    known += known.empty() ? "" : ", ";
    known += entry.name;
  }
  throw InvalidArgument(concatenate("find_threshold: algo must be one of ", known, ", got '", name, "'"));
}

float find_threshold(const TensorStatistics& statistics, ThresholdAlgo algo,
                     const ThresholdOptions& options) {
  QSLIM_REQUIRE(options.quant_bits >= 2 && options.quant_bits <= 16,
                "find_threshold: quant_bits must be in [2, 16], got ", options.quant_bits);
  QSLIM_REQUIRE(options.hist_percent > 0 && options.hist_percent <= 1,
                "find_threshold: hist_percent must be in (0, 1], got ", options.hist_percent);
  QSLIM_REQUIRE(statistics.count() > 0, "find_threshold: the statistics have seen no data");
  if (statistics.abs_max() <= kThresholdFloor) return kThresholdFloor;
  const double threshold = std::min<double>(search(statistics, algo, options), statistics.abs_max());
  return std::max(static_cast<float>(threshold), kThresholdFloor);
}

double quantization_error(const TensorStatistics& statistics, const QParams& params) {
  QSLIM_REQUIRE(statistics.count() > 0, "quantization_error: the statistics have seen no data");
  QSLIM_REQUIRE(std::isfinite(params.scale) && params.scale > 0,
                "quantization_error: scale must be finite and > 0, got ", params.scale);
  QSLIM_REQUIRE(params.qmin <= params.zero_point && params.zero_point <= params.qmax,
                "quantization_error: zero_point must be in [", params.qmin, ", ", params.qmax, "], got ",
                params.zero_point);
  return threshold::squared_error(magnitudes_of(statistics), params.scale, params.zero_point - params.qmin,
                                  params.qmax - params.zero_point);
}

namespace threshold {

double percentile(const Magnitudes& magnitudes, double percent) {
  const Eigen::ArrayXd counts = magnitudes.both();
  const double wanted = percent * counts.sum();
  double below = 0;
  Eigen::Index i = 0;
  for (; i < counts.size() - 1; ++i) {
    below += counts[i];
    if (below >= wanted) break;
  }
  return (static_cast<double>(i) + 0.5) * magnitudes.width;
}

}  // namespace threshold
}  // namespace qslim
