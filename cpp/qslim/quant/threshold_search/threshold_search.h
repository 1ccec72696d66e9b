// SPDX-License-Identifier: Apache-2.0
//
// The threshold that follows from statistics: the largest magnitude worth keeping, > 0; scale = threshold /
// qmax.
//
//   abs_max  the largest |x|
//   min_max  the same (PaddleSlim then stores both ends)
//   avg      mean over samples of the sample's largest |x|
//   hist     centre of the first bin of |x| up to which at least hist_percent of the elements lie
//   KL       the cut that loses the least information (kl.cc)
//   mse      of T = s * abs_max, s = 0.30, 0.32, .. 1.00, the one with the least mean squared error
//   emd      same candidates, least |mean(x) - mean(q(x))| + |std(x) - std(q(x))|
//   ptf      same error as mse, s = 1, 1/2, 1/4, 1/8 (power-of-two factors)
//
// The candidates are judged on the integers that are deployed: signed [-(2^(b-1)-1), 2^(b-1)-1], or [0, 2^b -
// 1] for tensors that are never negative. Ties go to the larger threshold. A tensor of zeros, and any
// threshold below it, gives kThresholdFloor (1e-8).
//
// Where this differs from PaddleSlim 2.6.0 (quant/quanters and post_training_quantization):
//   - mse, emd and ptf weigh all batches together. PaddleSlim keeps the threshold of the single batch with the
//     lowest loss: the quietest batch, whatever the others need; for ptf, of the last batch.
//   - s = 1.0, the full range, is a candidate (float accumulation stops PaddleSlim's loop at 0.98).
//   - Negative values count (PaddleSlim clips them to 0 before it measures), and KL and hist look at |x|.
//   - hist adds no offset and needs none: bins start at 0.
#pragma once

#include <string_view>

#include "qslim/core/qparams.h"
#include "qslim/quant/statistics/tensor_statistics.h"

namespace qslim {

enum class ThresholdAlgo { kAbsMax, kAvg, kHist, kKl, kMse, kEmd, kPtf, kMinMax };

// Throw InvalidArgument, which names the known algorithms, for another name.
ThresholdAlgo threshold_algo_from_name(std::string_view name);

struct ThresholdOptions {
  int quant_bits = 8;
  bool is_unsigned = false;
  double hist_percent = 0.9999;
};

float find_threshold(const TensorStatistics& statistics, ThresholdAlgo algo,
                     const ThresholdOptions& options = {});

// Mean over all elements of (x - q(x))^2, q(x) as QParams says, the density within a bin taken as uniform; any
// zero point. Throws InvalidArgument for statistics of no data and for parameters that cannot be.
double quantization_error(const TensorStatistics& statistics, const QParams& params);

}  // namespace qslim
