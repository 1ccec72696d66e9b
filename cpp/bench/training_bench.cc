// SPDX-License-Identifier: Apache-2.0
//
// GB/s of the gradients of learned quantization and of filter saliency on the activations and weights of real
// layers; pairs of filter elements a second for the distances of FPGM.
//   build/cpp/cpp/bench/qslim_training_bench --benchmark_repetitions=5
//   --benchmark_report_aggregates_only=true
#include "bench.h"
#include "qslim/kernels/learned_quant/table.h"
#include "qslim/kernels/saliency/table.h"

namespace qslim {
namespace {

using bench::add;
using bench::for_each_row;
using bench::name_of_row;

struct Layer {
  const char* name;
  std::size_t rows, inner;
};
const Layer kLayers[] = {{"L1_16KB", 1, 4096},
                         {"act_8x512x14x14", 8 * 512, 196},
                         {"weight_512x512x3x3", 512, 4608},
                         {"depthwise_1024x1x3x3", 1024, 9}};

struct Data {
  explicit Data(const Layer& layer)
      : rows(layer.rows),
        inner(layer.inner),
        x(bench::normal_floats(rows * inner)),
        g(bench::normal_floats(rows * inner, 2)),
        dx(x.size()),
        threshold(rows, 1.0f),
        scale(rows, 0.01f),
        inv_scale(rows, 100.0f),
        lo(rows, -127.0f),
        hi(rows, 127.0f),
        sums(rows),
        offsets(rows) {}
  ChannelParams params() const { return {scale.data(), inv_scale.data(), lo.data(), hi.data(), lo.data()}; }

  std::size_t rows, inner;
  std::vector<float> x, g, dx, threshold, scale, inv_scale, lo, hi;
  std::vector<double> sums, offsets;
};

void register_layer(const Layer& layer) {
  const Data data(layer);
  const std::size_t n = data.x.size();
  for_each_row(kLearnedQuantKernels, [&](const LearnedQuantKernels& kernels) {
    add(name_of_row("pact_backward_rows", kernels.isa, layer.name), 12 * n, n, [=, d = data]() mutable {
      kernels.pact_rows(d.rows, d.inner, d.x.data(), d.g.data(), d.threshold.data(), false, d.dx.data(),
                        d.sums.data());
    });
    add(name_of_row("lsq_backward_rows", kernels.isa, layer.name), 12 * n, n, [=, d = data]() mutable {
      kernels.lsq_rows(d.rows, d.inner, d.x.data(), d.g.data(), d.params(), d.dx.data(), d.sums.data(),
                       d.offsets.data());
    });
  });
  for_each_row(kSaliencyKernels, [&](const SaliencyKernels& kernels) {
    add(name_of_row("sum_of_magnitudes_rows", kernels.isa, layer.name), 4 * n, n,
        [=, d = data]() mutable { kernels.magnitudes_rows(d.rows, d.inner, d.x.data(), d.sums.data()); });
    add(name_of_row("sum_of_products_rows", kernels.isa, layer.name), 8 * n, n, [=, d = data]() mutable {
      kernels.products_rows(d.rows, d.inner, d.x.data(), d.g.data(), d.sums.data());
    });
  });
}

// Items are pairs of elements.
void register_distances() {
  constexpr std::size_t kPanel = kDistanceRows * kDistanceRun;
  constexpr std::size_t kPairs = kDistanceRows * kDistanceRows;
  const std::vector<double> a(kPanel, 0.5), b(kPanel, 0.25), zeros(kPairs * kDistanceLanes, 0.0);
  for_each_row(kSaliencyKernels, [&](const SaliencyKernels& kernels) {
    add(name_of_row("squared_distances", kernels.isa, "panels"), 16 * kPanel, kPairs * kDistanceRun,
        [kernels, a, b, acc = zeros]() mutable {
          kernels.squared_distances(kDistanceRows, kDistanceRows, kDistanceRun, a.data(), b.data(),
                                    acc.data());
        });
  });
}

}  // namespace
}  // namespace qslim

int main(int argc, char** argv) {
  for (const qslim::Layer& layer : qslim::kLayers) qslim::register_layer(layer);
  qslim::register_distances();
  return qslim::bench::run(argc, argv);
}
