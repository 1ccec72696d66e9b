// SPDX-License-Identifier: Apache-2.0
//
// Softmax and group normalization.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "runtime/example_models.h"
#include "runtime/network.h"
#include "runtime/ops/one_node.h"

namespace qslim::test {
namespace {

TEST(NormalizationOperators, GroupAndInstanceNormalizationEqualTheirDefinition) {
  const Floats x = some_floats(2 * 6 * 5), gamma = some_floats(6, 1, 2), beta = some_floats(6, 1, 3);
  const Dims dims = {2, 6, 5};
  for (const std::size_t groups : {1u, 2u, 3u, 6u}) {
    OneNode node;
    node.batched().in(dims, x).floats({6}, gamma).floats({6}, beta);
    const Floats y = groups == 6
                         ? node.run<float>("InstanceNormalization", {{"epsilon", 1e-3}})
                         : node.run<float>("GroupNormalization", {{"epsilon", 1e-3}, {"num_groups", groups}});
    const std::size_t size = 6 / groups * 5;
    for (std::size_t i = 0; i < y.size(); ++i) {
      double mean = 0, variance = 0;
      const float* const group = x.data() + i / size * size;
      for (std::size_t k = 0; k < size; ++k) mean += group[k] / static_cast<double>(size);
      for (std::size_t k = 0; k < size; ++k)
        variance += (group[k] - mean) * (group[k] - mean) / static_cast<double>(size);
      const double expected = (x[i] - mean) / std::sqrt(variance + 1e-3) * gamma[i / 5 % 6] + beta[i / 5 % 6];
      ASSERT_NEAR(y[i], expected, 1e-5) << groups << " groups";  // sums of 30 terms of size 1
    }
  }
}

TEST(NormalizationOperators, SoftmaxEqualsItsDefinition) {
  ModelBuilder builder;
  builder.input("x", Dims{-1, 6, 5}).node("Softmax", {"x"}, {"y"}, {{"axis", 1}}).output("y");
  // Probabilities of at most 1 from float exponentials: a few units in the last place of 1.
  expect_network(
      builder, {{1, 6, 5}, {8, 6, 5}},
      [](const Array& x) {
        Array y = x;
        for (std::size_t i = 0; i < x.values.size(); ++i) {
          double sum = 0;
          for (std::size_t k = 0; k < 6; ++k) sum += std::exp(double{x.values[i / 30 * 30 + k * 5 + i % 5]});
          y.values[i] = static_cast<float>(std::exp(double{x.values[i]}) / sum);
        }
        return y;
      },
      8 * std::numeric_limits<float>::epsilon());
}

}  // namespace
}  // namespace qslim::test
