// SPDX-License-Identifier: Apache-2.0
//
// GB/s of every kernel row in every kernels.inc, beside memcpy and a plain read of the same buffers.
//
// Shapes are those of real layers: activations [8, 512, 14, 14] (3 MB) and weights [512, 512, 3, 3] (9 MB),
// plus 16 KB and 64 MB for the first cache and for memory. Bytes are those the operation must move: read +
// written.
//   build/cpp/cpp/bench/qslim_bench --benchmark_repetitions=5 --benchmark_report_aggregates_only=true
#include <benchmark/benchmark.h>
#if QSLIM_BUILD_X86
#include <emmintrin.h>
#endif

#include <algorithm>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "qslim/core/aligned_buffer.h"
#include "qslim/core/isa.h"
#include "qslim/kernels/fake_quant/kernels.h"
#include "qslim/kernels/histogram/kernels.h"
#include "qslim/kernels/quantize/kernels.h"
#include "qslim/kernels/reduce/kernels.h"

namespace qslim {
namespace {

struct Layer {
  const char* name;
  std::size_t rows, inner;
};
const Layer kLayers[] = {{"L1_16KB", 1, 4096},
                         {"act_8x512x14x14", 8 * 512, 196},
                         {"weight_512x512x3x3", 512, 4608},
                         {"depthwise_1024x1x3x3", 1024, 9},
                         {"memory_64MB", 1, 16 << 20}};

// Normal numbers, every other one 0 for `half_zeros`.
AlignedBuffer<float> random_floats(std::size_t n, bool half_zeros = false) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<float> pool(1 << 16);
  for (float& value : pool) value = half_zeros ? std::max(0.0f, normal(random)) : normal(random);
  AlignedBuffer<float> x(n);
  for (std::size_t i = 0; i < n; ++i) x[i] = pool[(i * 7 + i / pool.size()) % pool.size()];
  return x;
}

struct Channels {
  explicit Channels(std::size_t n)
      : scale(n, 0.02f), inv_scale(n, 50.0f), lo(n, -127), hi(n, 127), zero(n, 0) {}
  ChannelParams params() const { return {scale.data(), inv_scale.data(), lo.data(), hi.data(), zero.data()}; }
  std::vector<float> scale, inv_scale, lo, hi, zero;
};

template <class Body>
void add(const std::string& name, std::size_t bytes, std::size_t elements, Body body) {
  benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& state) mutable {
    for (auto _ : state) {
      body();
      benchmark::ClobberMemory();
    }
    state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations() * bytes));
    state.SetItemsProcessed(static_cast<std::int64_t>(state.iterations() * elements));
  });
}

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

// What reading costs: every word or-ed into one of four independent vectors.
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
  const std::string at = std::string("/") + layer.name;
  const std::size_t n = b.n, rows = layer.rows, inner = layer.inner;
#define QSLIM_FAKE_QUANT_KERNELS(isa, suffix)                                                                \
  if (is_supported(isa)) {                                                                                   \
    for (const bool stream : {false, true}) {                                                                \
      if (stream && n < (std::size_t{1} << 20)) continue;                                                    \
      add(std::string("fake_quant_rows_" #suffix) + (stream ? "_stream" : "") + at, 8 * n, n, [=, &b] {      \
        fake_quant_f32_rows_##suffix(rows, inner, b.x.data(), b.channels.params(), Rounding::kTiesToEven,    \
                                     stream, b.y.data());                                                    \
      });                                                                                                    \
    }                                                                                                        \
    add("fake_quant_rows_ties_away_" #suffix + at, 8 * n, n, [=, &b] {                                       \
      fake_quant_f32_rows_##suffix(rows, inner, b.x.data(), b.channels.params(), Rounding::kTiesAway, false, \
                                   b.y.data());                                                              \
    });                                                                                                      \
    add("fake_quant_elements_512_" #suffix + at, 8 * n, n, [=, &b] {                                         \
      for (std::size_t i = 0; i + 512 <= n; i += 512) {                                                      \
        fake_quant_f32_elements_##suffix(512, b.x.data() + i, b.columns.params(), Rounding::kTiesToEven,     \
                                         b.y.data() + i);                                                    \
      }                                                                                                      \
    });                                                                                                      \
    add("fake_quant_backward_rows_" #suffix + at, 12 * n, n, [=, &b] {                                       \
      fake_quant_backward_f32_rows_##suffix(rows, inner, b.x.data(), b.relu.data(), b.channels.params(),     \
                                            Rounding::kTiesToEven, b.y.data());                              \
    });                                                                                                      \
  }
#include "qslim/kernels/fake_quant/kernels.inc"
#undef QSLIM_FAKE_QUANT_KERNELS
}

void register_quantize(const Layer& layer, Buffers& b) {
  const std::string at = std::string("/") + layer.name;
  const std::size_t n = b.n, rows = layer.rows, inner = layer.inner;
#define QSLIM_QUANTIZE_KERNELS(isa, suffix)                                                              \
  if (is_supported(isa)) {                                                                               \
    add("quantize_rows_" #suffix + at, 5 * n, n, [=, &b] {                                               \
      quantize_f32_x8_rows_##suffix(rows, inner, b.x.data(), b.channels.params(), Rounding::kTiesToEven, \
                                    reinterpret_cast<std::uint8_t*>(b.y.data()));                        \
    });                                                                                                  \
    add("dequantize_s8_rows_" #suffix + at, 5 * n, n, [=, &b] {                                          \
      dequantize_s8_f32_rows_##suffix(rows, inner, reinterpret_cast<const std::int8_t*>(b.x.data()),     \
                                      b.channels.params(), b.y.data());                                  \
    });                                                                                                  \
  }
#include "qslim/kernels/quantize/kernels.inc"
#undef QSLIM_QUANTIZE_KERNELS
}

void register_reduce(const Layer& layer, Buffers& b) {
  const std::string at = std::string("/") + layer.name;
  const std::size_t n = b.n, rows = layer.rows, inner = layer.inner;
#define QSLIM_REDUCE_KERNELS(isa, suffix)                                                                   \
  if (is_supported(isa)) {                                                                                  \
    add("abs_max_rows_" #suffix + at, 4 * n, n, [=, &b, acc = std::vector<std::uint32_t>(rows)]() mutable { \
      abs_max_f32_rows_##suffix(rows, inner, b.x.data(), acc.data());                                       \
    });                                                                                                     \
    add("min_max_rows_" #suffix + at, 4 * n, n,                                                             \
        [=, &b, low = std::vector<std::int32_t>(rows), high = std::vector<std::int32_t>(rows)]() mutable {  \
          min_max_f32_rows_##suffix(rows, inner, b.x.data(), low.data(), high.data());                      \
        });                                                                                                 \
    add("sum_rows_" #suffix + at, 4 * n, n, [=, &b, acc = std::vector<double>(rows)]() mutable {            \
      sum_f32_rows_##suffix(rows, inner, b.x.data(), acc.data());                                           \
    });                                                                                                     \
  }
#include "qslim/kernels/reduce/kernels.inc"
#undef QSLIM_REDUCE_KERNELS
}

void register_histogram(const Layer& layer, Buffers& b) {
  const std::string at = std::string("/") + layer.name;
  const std::size_t n = b.n;
#define QSLIM_HISTOGRAM_KERNELS(isa, suffix)                                                               \
  if (is_supported(isa)) {                                                                                 \
    for (const bool half_zeros : {false, true}) {                                                          \
      const float* x = half_zeros ? b.relu.data() : b.x.data();                                            \
      add(std::string("histogram_signed_" #suffix) + (half_zeros ? "_half_zeros" : "_normal") + at, 4 * n, \
          n, [=, counts = std::vector<std::uint32_t>(2 * (2 * 4096 + kZeroSlots))]() mutable {             \
            histogram_signed_f32_##suffix(n, x, 4096.0f / 8, 4096, counts.data());                         \
          });                                                                                              \
    }                                                                                                      \
    std::vector<float> edges(2049);                                                                        \
    for (int i = 0; i <= 2048; ++i) edges[i] = -6.0f + 12.0f * static_cast<float>(i) / 2048;               \
    add("histogram_linear_" #suffix + at, 4 * n, n,                                                        \
        [=, &b, counts = std::vector<std::uint32_t>(2 * 2049)]() mutable {                                 \
          const LinearBins bins{-6, 6, 2048.0f / 12, 0.001f, 2048, edges.data()};                          \
          histogram_linear_f32_##suffix(n, b.x.data(), bins, counts.data());                               \
        });                                                                                                \
  }
#include "qslim/kernels/histogram/kernels.inc"
#undef QSLIM_HISTOGRAM_KERNELS
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
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
