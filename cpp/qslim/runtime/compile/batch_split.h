// SPDX-License-Identifier: Apache-2.0
//
// Batch split: whether a batch may run as one image after the other.
#pragma once

#include <cstdint>
#include <vector>

#include "qslim/runtime/lowering/infer_context.h"

namespace qslim::runtime {

// Return true if a batch may run image by image: its operators do not combine images, and compute from one
// image what they compute from the batch but for axis 0. The second is not implied: a constant may have as
// many rows as the batch has images.
// `facts` are those of the batch of `images`, `single` the inputs' extents of one image.
bool images_stay_apart(const Model& model, std::vector<TensorFacts>& facts, std::int64_t images,
                       const std::vector<Dims>& single);

}  // namespace qslim::runtime
