// SPDX-License-Identifier: Apache-2.0
//
// Saliency of the filters of a weight: the scores by which pruning orders them, smallest first.
//
//   kL1Norm   mean of |w| over the filter
//   kL2Norm   square root of the sum of w^2
//   kFpgm     sum over all filters j of the Euclidean distance between filters i and j: a filter near the
//             others' geometric median can be spared. He et al. 2019 (arXiv:1811.00250)
//   kTaylor   (sum of w * g)^2, g being the loss's gradient: what its removal changes, to first order.
//             Molchanov et al. 2019 (arXiv:1906.10771)
//
// The filters are the channels of `extents`: axis 0 of a convolution [OC, IC, KH, KW], axis 1 of a linear
// weight [in, out]. All arithmetic is double in the order of reference/saliency.h, rounded to float once, at
// the end. Same bits on every instruction set and for any number of threads.
#pragma once

#include <cstdint>

#include "qslim/core/context.h"
#include "qslim/core/span.h"
#include "qslim/core/tensor_view.h"

namespace qslim {

enum class SaliencyCriterion : std::uint8_t { kL1Norm, kL2Norm, kFpgm, kTaylor };

// result has extents.channels elements; gradient the size of weight for kTaylor, else nothing. A filter of no
// elements scores 0.
void filter_saliency(Context& context, Span<const float> weight, Span<const float> gradient,
                     const ChannelExtents& extents, SaliencyCriterion criterion, Span<float> result);

}  // namespace qslim
