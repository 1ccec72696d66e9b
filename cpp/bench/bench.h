// SPDX-License-Identifier: Apache-2.0
//
// Benchmarks of kernels: one for each row of a family's table.h that this machine runs, named by what it
// computes, the instruction set and the layer (softmax_avx2/bert_scores). A new row is measured without an
// edit here.
#pragma once

#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "qslim/core/aligned_buffer.h"
#include "qslim/core/isa.h"

namespace qslim::bench {

template <class Kernel, std::size_t Size, class Register>
void for_each_row(const Kernel (&table)[Size], const Register& register_row) {
  for (const Kernel& kernels : table) {
    if (is_supported(kernels.isa)) register_row(kernels);
  }
}

inline std::string name_of_row(const std::string& operation, Isa isa, const std::string& layer) {
  return operation + "_" + name_of(isa) + "/" + layer;
}

// Bytes are those that the operation must move, read and written.
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

// n numbers of a normal distribution, repeated after 2^16.
inline std::vector<float> normal_floats(std::size_t n, unsigned seed = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> pool(1 << 16);
  for (float& value : pool) value = normal(random);
  std::vector<float> x(n);
  for (std::size_t i = 0; i < n; ++i) x[i] = pool[(i * 7 + i / pool.size()) % pool.size()];
  return x;
}

inline std::vector<std::uint8_t> random_bytes(std::size_t n, unsigned seed = 1) {
  std::mt19937 random(seed);
  std::vector<std::uint8_t> x(n);
  for (std::uint8_t& value : x) value = static_cast<std::uint8_t>(random());
  return x;
}

inline int run(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}

}  // namespace qslim::bench
