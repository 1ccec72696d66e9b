// SPDX-License-Identifier: Apache-2.0
//
// GB/s of the kernels that calibration and quantization-aware training run over whole tensors, beside memcpy
// and a plain read of the same buffers.
//
// Shapes are those of real layers: activations [8, 512, 14, 14] (3 MB) and weights [512, 512, 3, 3] (9 MB),
// plus 16 KB and 64 MB for the first cache and for memory. Bytes are those the operation must move: read +
// written.
//   build/cpp/cpp/bench/qslim_kernels_bench --benchmark_repetitions=5 --benchmark_report_aggregates_only=true
#include "bench.h"

#if QSLIM_BUILD_X86
#include <emmintrin.h>
#endif

#include <algorithm>
#include <cstring>
#include <memory>

#include "qslim/kernels/fake_quant/table.h"
#include "qslim/kernels/histogram/table.h"
#include "qslim/kernels/quantize/table.h"
#include "qslim/kernels/reduce/table.h"

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
                         {"depthwise_1024x1x3x3", 1024, 9},
                         {"memory_64MB", 1, 16 << 20}};

// Normal numbers, the negative ones 0 with `is_relu`.
AlignedBuffer<float> random_floats(std::size_t n, bool is_relu = false) {
  const std::vector<float> values = bench::normal_floats(n);
  AlignedBuffer<float> x(n);
  for (std::size_t i = 0; i < n; ++i) x[i] = is_relu ? std::max(0.0f, values[i]) : values[i];
  return x;
}

struct Channels {
  explicit Channels(std::size_t n)
      : scale(n, 0.02f), inv_scale(n, 50.0f), lo(n, -127), hi(n, 127), zero(n, 0) {}
  ChannelParams params() const { return {scale.data(), inv_scale.data(), lo.data(), hi.data(), zero.data()}; }
  std::vector<float> scale, inv_scale, lo, hi, zero;
};

// Shared by all rows of a layer, so that they compete for the same memory.
struct Buffers {
  explicit Buffers(const Layer& layer)
      : n(layer.rows * layer.inner),
        x(random_floats(n)),
        relu(random_floats(n, true)),
        y(n),
        channels(std::max(layer.rows, n / 512)),
        columns(512) {
    std::memset(y.data(), 0, n * sizeof(float));
  }
  std::size_t n;
  AlignedBuffer<float> x, relu, y;
  Channels channels, columns;
};

// Read every word: or-ed into one of four independent vectors.
std::uint64_t read_all(const float* x, std::size_t n) {
#if QSLIM_BUILD_X86
  const auto load = [x](std::size_t i) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(x + i)); };
  __m128i a = _mm_setzero_si128(), b = a, c = a, d = a;
  for (std::size_t i = 0; i + 32 <= n; i += 32) {
    a = _mm_or_si128(_mm_or_si128(a, load(i)), load(i + 16));
    b = _mm_or_si128(_mm_or_si128(b, load(i + 4)), load(i + 20));
    c = _mm_or_si128(_mm_or_si128(c, load(i + 8)), load(i + 24));
    d = _mm_or_si128(_mm_or_si128(d, load(i + 12)), load(i + 28));
  }
  a = _mm_or_si128(_mm_or_si128(a, b), _mm_or_si128(c, d));
  return static_cast<std::uint64_t>(_mm_cvtsi128_si64(_mm_or_si128(a, _mm_unpackhi_epi64(a, a))));
#else
  std::uint64_t folded = 0;
  for (std::size_t i = 0; i + 2 <= n; i += 2) {
    std::uint64_t word;
    std::memcpy(&word, x + i, sizeof word);
    folded |= word;
  }
  return folded;
#endif
}

void register_fake_quant(const Layer& layer, Buffers& b) {
  const std::size_t n = b.n, rows = layer.rows, inner = layer.inner;
  for_each_row(kFakeQuantKernels, [&](const FakeQuantKernels& kernels) {
    const auto name = [&](const char* operation) { return name_of_row(operation, kernels.isa, layer.name); };
    for (const bool stream : {false, true}) {
      if (stream && n < (std::size_t{1} << 20)) continue;
      add(name(stream ? "fake_quant_rows_stream" : "fake_quant_rows"), 8 * n, n, [=, &b] {
        kernels.rows(rows, inner, b.x.data(), b.channels.params(), Rounding::kTiesToEven, stream, b.y.data());
      });
    }
    add(name("fake_quant_rows_ties_away"), 8 * n, n, [=, &b] {
      kernels.rows(rows, inner, b.x.data(), b.channels.params(), Rounding::kTiesAway, false, b.y.data());
    });
    add(name("fake_quant_elements_512"), 8 * n, n, [=, &b] {
      for (std::size_t i = 0; i + 512 <= n; i += 512) {
        kernels.elements(512, b.x.data() + i, b.columns.params(), Rounding::kTiesToEven, b.y.data() + i);
      }
    });
    add(name("fake_quant_backward_rows"), 12 * n, n, [=, &b] {
      kernels.backward_rows(rows, inner, b.x.data(), b.relu.data(), b.channels.params(),
                            Rounding::kTiesToEven, b.y.data());
    });
  });
}

void register_quantize(const Layer& layer, Buffers& b) {
  const std::size_t n = b.n, rows = layer.rows, inner = layer.inner;
  for_each_row(kQuantizeKernels, [&](const QuantizeKernels& kernels) {
    add(name_of_row("quantize_rows", kernels.isa, layer.name), 5 * n, n, [=, &b] {
      kernels.quantize_rows(rows, inner, b.x.data(), b.channels.params(), Rounding::kTiesToEven,
                            reinterpret_cast<std::uint8_t*>(b.y.data()));
    });
    add(name_of_row("dequantize_s8_rows", kernels.isa, layer.name), 5 * n, n, [=, &b] {
      kernels.dequantize_s8_rows(rows, inner, reinterpret_cast<const std::int8_t*>(b.x.data()),
                                 b.channels.params(), b.y.data());
    });
  });
}

void register_reduce(const Layer& layer, Buffers& b) {
  const std::size_t n = b.n, rows = layer.rows, inner = layer.inner;
  for_each_row(kReduceKernels, [&](const ReduceKernels& kernels) {
    const auto name = [&](const char* operation) { return name_of_row(operation, kernels.isa, layer.name); };
    add(name("abs_max_rows"), 4 * n, n, [=, &b, acc = std::vector<std::uint32_t>(rows)]() mutable {
      kernels.abs_max_rows(rows, inner, b.x.data(), acc.data());
    });
    add(name("min_max_rows"), 4 * n, n,
        [=, &b, low = std::vector<std::int32_t>(rows), high = std::vector<std::int32_t>(rows)]() mutable {
          kernels.min_max_rows(rows, inner, b.x.data(), low.data(), high.data());
        });
    add(name("sum_rows"), 4 * n, n, [=, &b, acc = std::vector<double>(rows)]() mutable {
      kernels.sum_rows(rows, inner, b.x.data(), acc.data());
    });
  });
}

void register_histogram(const Layer& layer, Buffers& b) {
  const std::size_t n = b.n;
  for_each_row(kHistogramKernels, [&](const HistogramKernels& kernels) {
    const auto name = [&](const char* operation) { return name_of_row(operation, kernels.isa, layer.name); };
    for (const bool is_relu : {false, true}) {
      const float* x = is_relu ? b.relu.data() : b.x.data();
      add(name(is_relu ? "histogram_signed_relu" : "histogram_signed_normal"), 4 * n, n,
          [=, counts = std::vector<std::uint32_t>(2 * (2 * 4096 + kZeroSlots))]() mutable {
            kernels.signed_bins(n, x, 4096.0f / 8, 4096, counts.data());
          });
    }
    std::vector<float> edges(2049);
    for (std::size_t i = 0; i <= 2048; ++i) edges[i] = -6.0f + 12.0f * static_cast<float>(i) / 2048;
    add(name("histogram_linear"), 4 * n, n, [=, &b, counts = std::vector<std::uint32_t>(2 * 2049)]() mutable {
      const LinearBins bins{-6, 6, 2048.0f / 12, 0.001f, 2048, edges.data()};
      kernels.linear(n, b.x.data(), bins, counts.data());
    });
  });
}

void register_layer(const Layer& layer, Buffers& b) {
  const std::string at = std::string("/") + layer.name;
  const std::size_t n = b.n;
  add("memcpy" + at, 8 * n, n, [&b, n] { std::memcpy(b.y.data(), b.x.data(), n * sizeof(float)); });
  add("read" + at, 4 * n, n, [&b, n] { benchmark::DoNotOptimize(read_all(b.x.data(), n)); });
  register_fake_quant(layer, b);
  register_quantize(layer, b);
  register_reduce(layer, b);
  register_histogram(layer, b);
}

}  // namespace
}  // namespace qslim

int main(int argc, char** argv) {
  std::vector<std::unique_ptr<qslim::Buffers>> buffers;
  for (const qslim::Layer& layer : qslim::kLayers) {
    buffers.push_back(std::make_unique<qslim::Buffers>(layer));
    qslim::register_layer(layer, *buffers.back());
  }
  return qslim::bench::run(argc, argv);
}
