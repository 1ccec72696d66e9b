// SPDX-License-Identifier: Apache-2.0
//
// The README's example: fake-quantize a convolution's weight to 4 bits, one scale per output channel.
#include <cstdint>
#include <cstdio>
#include <vector>

#include "qslim/core/context.h"
#include "qslim/core/qparams.h"
#include "qslim/kernels/fake_quant/fake_quant.h"
#include "qslim/kernels/reduce/reduce.h"

int main() {
  const qslim::Shape shape{64, 32, 3, 3};  // OC, IC, KH, KW
  std::vector<float> weight(qslim::element_count(shape)), rounded(weight.size());
  for (std::size_t i = 0; i < weight.size(); ++i) weight[i] = static_cast<float>(i % 777) / 388.0f - 1.0f;

  qslim::Context context(/*num_threads=*/2);  // the best instruction set of this CPU
  const qslim::ChannelExtents extents = qslim::channel_extents(shape, /*quant_axis=*/0);
  std::vector<float> scale(extents.channels);
  qslim::abs_max(context, {weight.data(), weight.size()}, extents, {scale.data(), scale.size()});
  const qslim::Grid grid = qslim::grid_of(/*quant_bits=*/4, /*is_unsigned=*/false);
  for (float& s : scale) s /= static_cast<float>(grid.qmax);  // from the largest magnitude to one step

  const std::int32_t zero_point = 0;
  const qslim::AffineParams params{{scale.data(), scale.size()}, {&zero_point, 1}, grid.qmin, grid.qmax};
  qslim::fake_quant(context, {weight.data(), weight.size()}, extents, params,
                    {rounded.data(), rounded.size()});

  for (std::size_t i = 0; i < 4; ++i) std::printf("%9.6f -> %9.6f\n", weight[i], rounded[i]);
}
