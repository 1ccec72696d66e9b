// SPDX-License-Identifier: Apache-2.0
//
// Linear layers whose weights are int8, per channel, or int4 in groups of 64, beside the same layers in fp32: one
// row (a network that takes one token or one image) and 128 (a sentence). Layers of ERNIE and of ViT.
//   build/cpp-bench/cpp/bench/qslim_weight_only_bench --benchmark_repetitions=5
#include "bench.h"

#include <memory>

#include "qslim/core/context.h"
#include "qslim/kernels/conv/conv_f32.h"
#include "qslim/kernels/weight_only/table.h"
#include "qslim/kernels/weight_only/weight_only.h"

namespace qslim {
namespace {

using bench::add;
using bench::name_of_row;
using bench::normal_floats;

struct Layer {
  const char* name;
  std::size_t rows, k, n;
};
constexpr Layer kLayers[] = {{"1x768x768", 1, 768, 768},       {"1x768x3072", 1, 768, 3072},
                             {"1x3072x768", 1, 3072, 768},     {"1x4096x4096", 1, 4096, 4096},
                             {"4x768x3072", 4, 768, 3072},     {"16x768x3072", 16, 768, 3072},
                             {"128x768x3072", 128, 768, 3072}, {"128x3072x768", 128, 3072, 768}};

void register_float(Isa isa, const Layer& layer) {
  ConvGeometry geometry;
  geometry.input_channels = layer.k, geometry.output_channels = layer.n;
  ConvExtents extents;
  extents.in_w = extents.out_w = layer.rows;
  extents.x_pixel_stride = layer.k, extents.y_pixel_stride = layer.n;
  extents.y_row_stride = extents.y_image_stride = layer.rows * layer.n;
  const auto product =
      std::make_shared<const ConvF32>(isa, geometry, normal_floats(layer.k * layer.n), std::vector<float>());
  const auto context = std::make_shared<Context>(1, isa);
  const auto scratch = std::make_shared<AlignedBuffer<std::byte>>(product->scratch_bytes(extents, 1));
  add(name_of_row("linear_f32", isa, layer.name), 4 * layer.k * layer.n, layer.rows * layer.k * layer.n,
      [=, x = normal_floats(layer.rows * layer.k + 16),
       y = std::vector<float>(layer.rows * layer.n)]() mutable {
        FloatOutput output;
        output.y = y.data();
        product->run(*context, extents, x.data(), output, scratch->data());
      });
}

void register_integers(Isa isa, const Layer& layer, bool is_narrow) {
  const std::vector<std::uint8_t> bytes = bench::random_bytes(layer.k * layer.n);
  std::vector<std::int8_t> integers;
  for (const std::uint8_t b : bytes)
    integers.push_back(static_cast<std::int8_t>(is_narrow ? b % 15 - 7 : b % 255 - 127));
  WeightOnlyWeights weights;
  weights.k = layer.k, weights.n = layer.n, weights.is_narrow = is_narrow;
  weights.integers = integers.data(), weights.k_stride = layer.n;
  weights.group_size = is_narrow ? 64 : 0, weights.scale_group_stride = layer.n;
  const std::vector<float> scale(layer.n * (is_narrow ? layer.k / 64 : 1), 0.01f);
  weights.scale = scale.data();
  const auto product = std::make_shared<const WeightOnly>(isa, weights, std::vector<float>());
  const auto context = std::make_shared<Context>(1, isa);
  const auto scratch = std::make_shared<AlignedBuffer<std::byte>>(product->scratch_bytes(layer.rows, 1));
  add(name_of_row(is_narrow ? "linear_int4" : "linear_int8", isa, layer.name), product->packed_bytes(),
      layer.rows * layer.k * layer.n,
      [=, x = normal_floats(layer.rows * layer.k), y = std::vector<float>(layer.rows * layer.n)]() mutable {
        product->run(*context, layer.rows, x.data(), -1e30f, 1e30f, y.data(), scratch->data());
      });
}

void register_all() {
  for (const Layer& layer : kLayers) {
    bench::for_each_row(kWeightOnlyKernels, [&](const WeightOnlyKernels& kernels) {
      register_float(kernels.isa, layer);
      for (const bool is_narrow : {false, true}) register_integers(kernels.isa, layer, is_narrow);
    });
  }
}

}  // namespace
}  // namespace qslim

int main(int argc, char** argv) {
  qslim::register_all();
  return qslim::bench::run(argc, argv);
}
