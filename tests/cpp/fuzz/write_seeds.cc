// SPDX-License-Identifier: Apache-2.0
//
// write_seeds DIRECTORY: the models of example_models.h as files, for the fuzzer to start from.
#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

#include "runtime/example_models.h"

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: write_seeds DIRECTORY\n");
    return 2;
  }
  for (const auto& [name, builder] : qslim::test::example_models()) {
    const std::vector<std::byte> bytes = builder.file();
    std::ofstream file(std::string(argv[1]) + "/" + name + ".qslim", std::ios::binary);
    file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    if (!file) {
      std::fprintf(stderr, "write_seeds: cannot write to %s\n", argv[1]);
      return 1;
    }
  }
  return 0;
}
