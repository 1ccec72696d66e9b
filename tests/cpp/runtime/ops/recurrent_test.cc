// SPDX-License-Identifier: Apache-2.0
//
// RNN, GRU and LSTM.
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "runtime/example_models.h"
#include "runtime/ops/one_node.h"

namespace qslim::test {
namespace {

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

// The definition runs in double: h and c after every step, one direction after the other.
TEST(RecurrentOperators, RnnGruAndLstmEqualTheirDefinition) {
  constexpr std::size_t kSteps = 4, kBatch = 2, kInputs = 3, kHidden = 5;
  for (const std::string op : {"RNN", "GRU", "LSTM"}) {
    const std::size_t gates = op == "LSTM" ? 4 : op == "GRU" ? 3 : 1, rows = gates * kHidden;
    const Floats x = some_floats(kSteps * kBatch * kInputs), w = some_floats(2 * rows * kInputs, 1, 2),
                 r = some_floats(2 * rows * kHidden, 1, 3), b = some_floats(2 * 2 * rows, 1, 4);
    const auto count = [](std::size_t n) { return static_cast<std::int64_t>(n); };
    const Floats y = OneNode()
                         .in(Dims{kSteps, kBatch, kInputs}, x)
                         .floats({2, count(rows), kInputs}, w)
                         .floats({2, count(rows), kHidden}, r)
                         .floats({2, 2 * count(rows)}, b)
                         .run<float>(op, {{"direction", "bidirectional"}, {"linear_before_reset", 1}});
    for (std::size_t d = 0; d < 2; ++d) {
      for (std::size_t n = 0; n < kBatch; ++n) {
        std::vector<double> h(kHidden, 0.0), c(kHidden, 0.0);
        for (std::size_t s = 0; s < kSteps; ++s) {
          const std::size_t t = d == 0 ? s : kSteps - 1 - s;
          std::vector<double> from_x(rows), from_h(rows);
          for (std::size_t i = 0; i < rows; ++i) {
            from_x[i] = b[d * 2 * rows + i];
            from_h[i] = b[d * 2 * rows + rows + i];
            for (std::size_t k = 0; k < kInputs; ++k)
              from_x[i] += x[(t * kBatch + n) * kInputs + k] * w[(d * rows + i) * kInputs + k];
            for (std::size_t k = 0; k < kHidden; ++k) from_h[i] += h[k] * r[(d * rows + i) * kHidden + k];
          }
          for (std::size_t i = 0; i < kHidden; ++i) {
            const auto gate = [&](std::size_t g) {
              return from_x[g * kHidden + i] + from_h[g * kHidden + i];
            };
            if (op == "RNN") {
              h[i] = std::tanh(gate(0));
            } else if (op == "LSTM") {
              c[i] = sigmoid(gate(2)) * c[i] + sigmoid(gate(0)) * std::tanh(gate(3));
              h[i] = sigmoid(gate(1)) * std::tanh(c[i]);
            } else {
              const double candidate =
                  std::tanh(from_x[2 * kHidden + i] + sigmoid(gate(1)) * from_h[2 * kHidden + i]);
              h[i] = (1 - sigmoid(gate(0))) * candidate + sigmoid(gate(0)) * h[i];
            }
            ASSERT_NEAR(y[((t * 2 + d) * kBatch + n) * kHidden + i], h[i], 1e-5) << op;
          }
        }
      }
    }
  }
  EXPECT_THROW(OneNode()
                   .in(Dims{1, 1, 2}, Floats{1, 2})
                   .floats({1, 4, 2}, some_floats(8))
                   .floats({1, 4, 2}, some_floats(8))
                   .run<float>("LSTM"),
               InvalidArgument);
}

}  // namespace
}  // namespace qslim::test
