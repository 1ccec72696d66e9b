// SPDX-License-Identifier: Apache-2.0
//
// GB/s of the gradients of learned quantization and of filter saliency, every row of their kernels.inc, on
// the activations and weights of real layers; pairs of filter elements a second for the distances of FPGM.
//   build/cpp/cpp/bench/qslim_training_bench --benchmark_repetitions=5
//   --benchmark_report_aggregates_only=true
#include <benchmark/benchmark.h>

#include <random>
#include <string>
#include <vector>

#include "qslim/core/isa.h"
#include "qslim/kernels/learned_quant/kernels.h"
#include "qslim/kernels/saliency/kernels.h"

namespace qslim {
namespace {

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
        x(rows * inner),
        g(x.size()),
        dx(x.size()),
        threshold(rows, 1.0f),
        scale(rows, 0.01f),
        inv_scale(rows, 100.0f),
        lo(rows, -127.0f),
        hi(rows, 127.0f),
        sums(rows),
        offsets(rows) {
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    for (float& value : x) value = normal(random);
    for (float& value : g) value = normal(random);
  }
  ChannelParams params() const { return {scale.data(), inv_scale.data(), lo.data(), hi.data(), lo.data()}; }

  std::size_t rows, inner;
  std::vector<float> x, g, dx, threshold, scale, inv_scale, lo, hi;
  std::vector<double> sums, offsets;
};

// Items are elements, or pairs of elements.
template <class Body>
void add(const std::string& name, std::size_t bytes, std::size_t items, Body body) {
  benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& state) mutable {
    for (auto _ : state) {
      body();
      benchmark::ClobberMemory();
    }
    state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations() * bytes));
    state.SetItemsProcessed(static_cast<std::int64_t>(state.iterations() * items));
  });
}

void register_layer(const Layer& layer) {
  const Data data(layer);
  const std::size_t n = data.x.size();
  const std::string at = std::string("/") + layer.name;
#define QSLIM_LEARNED_QUANT_KERNELS(isa, suffix)                                                          \
  if (is_supported(isa)) {                                                                                \
    add("pact_backward_rows_" #suffix + at, 12 * n, n, [d = data]() mutable {                             \
      pact_backward_f32_rows_##suffix(d.rows, d.inner, d.x.data(), d.g.data(), d.threshold.data(), false, \
                                      d.dx.data(), d.sums.data());                                        \
    });                                                                                                   \
    add("lsq_backward_rows_" #suffix + at, 12 * n, n, [d = data]() mutable {                              \
      lsq_backward_f32_rows_##suffix(d.rows, d.inner, d.x.data(), d.g.data(), d.params(), d.dx.data(),    \
                                     d.sums.data(), d.offsets.data());                                    \
    });                                                                                                   \
  }
#include "qslim/kernels/learned_quant/kernels.inc"
#undef QSLIM_LEARNED_QUANT_KERNELS

#define QSLIM_SALIENCY_KERNELS(isa, suffix)                                                      \
  if (is_supported(isa)) {                                                                       \
    add("sum_of_magnitudes_rows_" #suffix + at, 4 * n, n, [d = data]() mutable {                 \
      sum_of_magnitudes_f32_rows_##suffix(d.rows, d.inner, d.x.data(), d.sums.data());           \
    });                                                                                          \
    add("sum_of_products_rows_" #suffix + at, 8 * n, n, [d = data]() mutable {                   \
      sum_of_products_f32_rows_##suffix(d.rows, d.inner, d.x.data(), d.g.data(), d.sums.data()); \
    });                                                                                          \
  }
#include "qslim/kernels/saliency/kernels.inc"
#undef QSLIM_SALIENCY_KERNELS
}

void register_distances() {
  constexpr std::size_t kPanel = kDistanceRows * kDistanceRun;
  constexpr std::size_t kPairs = kDistanceRows * kDistanceRows;
  const std::vector<double> a(kPanel, 0.5), b(kPanel, 0.25), zeros(kPairs * kDistanceLanes, 0.0);
#define QSLIM_SALIENCY_KERNELS(isa, suffix)                                                               \
  if (is_supported(isa)) {                                                                                \
    add("squared_distances_" #suffix, 16 * kPanel, kPairs * kDistanceRun, [a, b, acc = zeros]() mutable { \
      squared_distances_f64_##suffix(kDistanceRows, kDistanceRows, kDistanceRun, a.data(), b.data(),      \
                                     acc.data());                                                         \
    });                                                                                                   \
  }
#include "qslim/kernels/saliency/kernels.inc"
#undef QSLIM_SALIENCY_KERNELS
}

}  // namespace
}  // namespace qslim

int main(int argc, char** argv) {
  for (const qslim::Layer& layer : qslim::kLayers) qslim::register_layer(layer);
  qslim::register_distances();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
