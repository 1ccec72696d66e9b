// SPDX-License-Identifier: Apache-2.0
//
// GMAC/s of both convolutions on the layers of MobileNetV1 and ResNet50 (and a few of MobileNetV2 and V3),
// with every kernel of this machine: gemm, depthwise (by rows too) and winograd. cyc/out is cycles per output
// of the depthwise layers, if the clock is given in GHz by QSLIM_BENCH_GHZ; MAC/cyc likewise.
//   build/cpp/cpp/bench/qslim_conv_bench --benchmark_repetitions=5 --benchmark_report_aggregates_only=true
#include "bench.h"

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <set>

#include "qslim/kernels/conv/conv_f32.h"
#include "qslim/kernels/conv/conv_u8s8.h"
#include "qslim/kernels/depthwise_f32/table.h"
#include "qslim/kernels/depthwise_rows_u8s8/table.h"
#include "qslim/kernels/depthwise_u8s8/table.h"
#include "qslim/kernels/gemm_f32/table.h"
#include "qslim/kernels/gemm_u8s8/table.h"
#include "qslim/kernels/winograd_u8s8/table.h"

namespace qslim {
namespace {

struct Layer {
  const char* name;
  std::size_t size, channels, outputs, kernel, stride, groups;
};
const Layer kLayers[] = {
    {"mbv1_conv0_224x3_3x3s2_32", 224, 3, 32, 3, 2, 1},
    {"mbv1_dw1_112x32_3x3", 112, 32, 32, 3, 1, 32},
    {"mbv1_pw1_112x32_64", 112, 32, 64, 1, 1, 1},
    {"mbv1_dw2_112x64_3x3s2", 112, 64, 64, 3, 2, 64},
    {"mbv1_pw2_56x64_128", 56, 64, 128, 1, 1, 1},
    {"mbv1_dw3_56x128_3x3", 56, 128, 128, 3, 1, 128},
    {"mbv1_pw3_56x128_128", 56, 128, 128, 1, 1, 1},
    {"mbv1_dw4_56x128_3x3s2", 56, 128, 128, 3, 2, 128},
    {"mbv1_pw4_28x128_256", 28, 128, 256, 1, 1, 1},
    {"mbv1_dw5_28x256_3x3", 28, 256, 256, 3, 1, 256},
    {"mbv1_pw5_28x256_256", 28, 256, 256, 1, 1, 1},
    {"mbv1_dw7_14x512_3x3", 14, 512, 512, 3, 1, 512},
    {"mbv1_pw7_14x512_512", 14, 512, 512, 1, 1, 1},
    {"mbv1_dw13_7x1024_3x3", 7, 1024, 1024, 3, 1, 1024},
    {"mbv1_pw13_7x1024_1024", 7, 1024, 1024, 1, 1, 1},
    {"mbv1_fc_1024_1000", 1, 1024, 1000, 1, 1, 1},
    {"mbv2_expand_56x24_144", 56, 24, 144, 1, 1, 1},
    {"mbv2_project_56x144_24", 56, 144, 24, 1, 1, 1},
    {"mbv2_project_112x32_16", 112, 32, 16, 1, 1, 1},
    {"mbv2_dw_56x144_3x3", 56, 144, 144, 3, 1, 144},
    {"mbv3_dw_112x16_3x3", 112, 16, 16, 3, 1, 16},
    {"mbv3_dw_28x120_5x5", 28, 120, 120, 5, 1, 120},
    {"mbv3_dw_56x72_5x5s2", 56, 72, 72, 5, 2, 72},
    {"resnet50_conv0_224x3_7x7s2_64", 224, 3, 64, 7, 2, 1},
    {"resnet50_56x64_3x3_64", 56, 64, 64, 3, 1, 1},
    {"resnet50_56x64_256", 56, 64, 256, 1, 1, 1},
    {"resnet50_28x128_3x3_128", 28, 128, 128, 3, 1, 1},
    {"resnet50_14x256_3x3_256", 14, 256, 256, 3, 1, 1},
    {"resnet50_14x1024_256", 14, 1024, 256, 1, 1, 1},
    {"resnet50_7x512_3x3_512", 7, 512, 512, 3, 1, 1},
    {"resnet50_56x256_1x1s2_512", 56, 256, 512, 1, 2, 1},
    {"resnext50_28x256_3x3_g32", 28, 256, 256, 3, 1, 32},
};

struct Problem {
  explicit Problem(const Layer& layer)
      : outputs(layer.outputs), taps(layer.kernel * layer.kernel * layer.channels / layer.groups) {
    geometry.input_channels = layer.channels, geometry.output_channels = layer.outputs;
    geometry.groups = layer.groups;
    geometry.kernel_h = geometry.kernel_w = layer.kernel;
    geometry.stride_h = geometry.stride_w = layer.stride;
    const std::size_t out = (layer.size + layer.stride - 1) / layer.stride;
    extents.in_h = extents.in_w = layer.size;
    extents.out_h = extents.out_w = out;
    extents.pad_top = extents.pad_left = static_cast<std::ptrdiff_t>((layer.kernel - 1) / 2);
    extents.x_pixel_stride = layer.channels;
    extents.y_pixel_stride = layer.outputs;
    extents.y_row_stride = out * layer.outputs;
    extents.y_image_stride = out * extents.y_row_stride;
    y_size = extents.y_image_stride;
    x_size = layer.size * layer.size * layer.channels;
  }
  ConvGeometry geometry;
  ConvExtents extents;
  std::size_t outputs, taps, x_size, y_size;
};

double clock_ghz() {
  const char* text = std::getenv("QSLIM_BENCH_GHZ");
  return text != nullptr ? std::atof(text) : 0;
}

void report(benchmark::State& state, const Problem& p) {
  using benchmark::Counter;
  const double macs = static_cast<double>(p.y_size * p.taps);
  state.counters["GMAC/s"] = Counter(macs / 1e9, Counter::kIsIterationInvariantRate);
  if (const double ghz = clock_ghz(); ghz > 0) {
    state.counters["MAC/cyc"] = Counter(macs / 1e9 / ghz, Counter::kIsIterationInvariantRate);
    if (p.geometry.groups > 1) {
      state.counters["cyc/out"] = Counter(static_cast<double>(p.y_size) / 1e9 / ghz,
                                          Counter::kIsIterationInvariantRate | Counter::kInvert);
    }
  }
}

ConvU8S8 random_conv_u8s8(const Problem& p, Isa isa) {
  std::mt19937 random(1);
  std::vector<std::int8_t> weights(p.outputs * p.taps);
  for (std::int8_t& w : weights) w = static_cast<std::int8_t>(random() % 255 - 127);
  const std::vector<float> multiplier(p.outputs, 1e-4f), bias(p.outputs, 0.5f);
  return {isa, p.geometry, weights, 128, multiplier, bias};
}

ConvF32 random_conv_f32(const Problem& p, Isa isa) {
  return {isa, p.geometry, bench::normal_floats(p.outputs * p.taps), {}};
}

void run_u8s8(benchmark::State& state, const Layer& layer, Isa isa, std::size_t threads, bool to_sink) {
  const Problem p(layer);
  const std::vector<std::uint8_t> x = bench::random_bytes(p.x_size + 64);
  AlignedBuffer<std::uint8_t> y(p.y_size);
  const ConvU8S8 conv = random_conv_u8s8(p, isa);
  Context context(threads, isa);
  AlignedBuffer<std::byte> scratch(conv.scratch_bytes(p.extents, threads));
  const PixelSink sink{nullptr, [](const void*, std::size_t, std::size_t, const float*) {}};
  for (auto _ : state) {
    if (to_sink) {
      conv.run(context, p.extents, x.data(), RealOutput{nullptr, sink}, scratch.data());
    } else {
      conv.run(context, p.extents, x.data(), RequantizedOutput{1, 128, 0, 255, y.data()}, scratch.data());
    }
    benchmark::ClobberMemory();
  }
  report(state, p);
}

void run_f32(benchmark::State& state, const Layer& layer, Isa isa, std::size_t threads) {
  const Problem p(layer);
  const std::vector<float> x = bench::normal_floats(p.x_size + 16, 2);
  AlignedBuffer<float> y(p.y_size);
  const ConvF32 conv = random_conv_f32(p, isa);
  Context context(threads, isa);
  AlignedBuffer<std::byte> scratch(conv.scratch_bytes(p.extents, threads));
  for (auto _ : state) {
    conv.run(context, p.extents, x.data(), FloatOutput{0, 6, y.data(), {}}, scratch.data());
    benchmark::ClobberMemory();
  }
  report(state, p);
}

// The instruction sets of this machine that a table has a row for.
template <class Table>
void collect(const Table& table, std::set<Isa>& isas) {
  bench::for_each_row(table, [&](const auto& kernel) { isas.insert(kernel.isa); });
}

template <class Run>
void add(const std::string& kernel, const char* kind, const Layer& layer, std::size_t threads,
         const Run& run) {
  const std::string name = kernel + kind + "/" + layer.name + "/threads:" + std::to_string(threads);
  benchmark::RegisterBenchmark(name.c_str(), run)->UseRealTime();
}

// Each layer with each kernel that a convolution chooses for it.
void register_all() {
  std::set<Isa> isas;
  collect(kGemmU8S8Kernels, isas);
  collect(kDepthwiseU8S8Kernels, isas);
  collect(kDepthwiseRowsU8S8Kernels, isas);
  collect(kWinogradU8S8Kernels, isas);
  collect(kGemmF32Kernels, isas);
  collect(kDepthwiseF32Kernels, isas);
  for (const Layer& layer : kLayers) {
    const Problem p(layer);
    std::set<std::string> kernels;  // registered for this layer
    for (const Isa isa : isas) {
      const std::string u8s8 = random_conv_u8s8(p, isa).kernel_name(),
                        f32 = random_conv_f32(p, isa).kernel_name();
      const bool has_new_u8s8 = kernels.insert(u8s8).second, has_new_f32 = kernels.insert(f32).second;
      for (const std::size_t threads : {1u, 2u}) {
        for (const bool to_sink : {false, true}) {
          if (!has_new_u8s8) continue;
          add(u8s8, to_sink ? "_to_sink" : "", layer, threads,
              [=](benchmark::State& state) { run_u8s8(state, layer, isa, threads, to_sink); });
        }
        if (!has_new_f32) continue;
        add(f32, "", layer, threads, [=](benchmark::State& state) { run_f32(state, layer, isa, threads); });
      }
    }
  }
}

}  // namespace
}  // namespace qslim

int main(int argc, char** argv) {
  qslim::register_all();
  return qslim::bench::run(argc, argv);
}
