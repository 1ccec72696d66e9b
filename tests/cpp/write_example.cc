// SPDX-License-Identifier: Apache-2.0
//
// write_example MODEL IMAGE: a model of four inputs whose output i is i times their mean, and an input of
// mean 1.5.
#include <cstdio>
#include <fstream>
#include <vector>

#include "runtime/model_builder.h"

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: write_example MODEL IMAGE\n");
    return 2;
  }
  std::vector<float> weights(4 * 250);
  for (std::size_t i = 0; i < weights.size(); ++i) weights[i] = static_cast<float>(i % 250) / 4.0f;
  qslim::test::ModelBuilder builder;
  builder.input("x", qslim::runtime::Dims{-1, 4}).floats("w", {4, 250}, weights);
  const std::vector<std::byte> bytes = builder.node("MatMul", {"x", "w"}, {"y"}).output("y").file();
  const float image[] = {0.0f, 1.0f, 2.0f, 3.0f};
  std::ofstream model_file(argv[1], std::ios::binary), image_file(argv[2], std::ios::binary);
  model_file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  image_file.write(reinterpret_cast<const char*>(image), sizeof image);
  return model_file && image_file ? 0 : 1;
}
