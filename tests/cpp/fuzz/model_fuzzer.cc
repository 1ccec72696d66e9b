// SPDX-License-Identifier: Apache-2.0
//
// libFuzzer on model files: `make fuzz`. The seeds are the models of write_seeds.cc.
//
// A file has two lengths and a JSON inside a JSON, which random bytes hardly keep intact; the custom mutator
// changes the graph, its attributes or a tensor's entry and writes a whole file around it again. What runs is
// run on every instruction set and with one thread and three, and must give one result.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>

#include "fuzz/changed_file.h"
#include "fuzz/model_run.h"

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size);

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  qslim::test::run_model_bytes(data, size);
  return 0;
}

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t max_size,
                                               unsigned seed) {
  std::mt19937 random(seed);
  const std::string file = random() % 8 == 0 ? "" : qslim::test::changed_file(data, size, random);
  if (file.empty() || file.size() > max_size) return LLVMFuzzerMutate(data, size, max_size);
  std::memcpy(data, file.data(), file.size());
  return file.size();
}
