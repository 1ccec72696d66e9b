// SPDX-License-Identifier: Apache-2.0
//
// write_example MODEL IMAGE PLANES: a model of four inputs whose output i is i times their mean, an input of
// mean 1.5, and a model of a picture of 2x2 pixels whose outputs are the means of its three channels, 100 of each.
#include <cstdio>
#include <fstream>
#include <vector>

#include "runtime/model_builder.h"

namespace {

std::vector<std::byte> planes() {
  std::vector<float> weights(3 * 300, 0.0f);
  for (std::size_t i = 0; i < 300; ++i) weights[i / 100 * 300 + i] = 1.0f;
  qslim::test::ModelBuilder builder;
  builder.input("x", qslim::runtime::Dims{1, 3, 2, 2}).floats("w", {3, 300}, weights);
  builder.node("GlobalAveragePool", {"x"}, {"means"})
      .node("Transpose", {"means"}, {"last"}, {{"perm", {0, 2, 3, 1}}});
  return builder.node("MatMul", {"last", "w"}, {"y"}).output("y").file();
}

bool write(const char* path, const void* data, std::size_t size) {
  std::ofstream file(path, std::ios::binary);
  file.write(static_cast<const char*>(data), static_cast<std::streamsize>(size));
  return static_cast<bool>(file);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: write_example MODEL IMAGE PLANES\n");
    return 2;
  }
  std::vector<float> weights(4 * 250);
  for (std::size_t i = 0; i < weights.size(); ++i) weights[i] = static_cast<float>(i % 250) / 4.0f;
  qslim::test::ModelBuilder builder;
  builder.input("x", qslim::runtime::Dims{-1, 4}).floats("w", {4, 250}, weights);
  const std::vector<std::byte> bytes = builder.node("MatMul", {"x", "w"}, {"y"}).output("y").file();
  const float image[] = {0.0f, 1.0f, 2.0f, 3.0f};
  const std::vector<std::byte> of_planes = planes();
  const bool is_written = write(argv[1], bytes.data(), bytes.size()) && write(argv[2], image, sizeof image) &&
                          write(argv[3], of_planes.data(), of_planes.size());
  return is_written ? 0 : 1;
}
