// SPDX-License-Identifier: Apache-2.0
//
// Operators on masks, indices and sequences, one node each, against numbers worked out by hand or by the loop
// that defines them.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "runtime/example_models.h"
#include "runtime/session_run.h"
#include "test_data.h"

namespace qslim::test {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

const char* name_of_type(float) { return "float32"; }
const char* name_of_type(std::int32_t) { return "int32"; }
const char* name_of_type(std::int64_t) { return "int64"; }
const char* name_of_type(std::uint8_t) { return "bool"; }

// A model of one node over inputs that the caller owns.
class OneNode {
 public:
  template <class T>
  OneNode& in(const Dims& dims, const std::vector<T>& values) {
    const std::string name = "in" + std::to_string(names_.size());
    Dims open = dims;
    if (!open.empty() && is_open_) open[0] = runtime::kUnknownExtent;
    builder_.input(name, open, {}, name_of_type(T{}));
    inputs_.push_back({values.data(), dims});
    names_.push_back(name);
    return *this;
  }
  OneNode& constants(const std::vector<std::int64_t>& values) {
    names_.push_back("constant" + std::to_string(names_.size()));
    builder_.integers(names_.back(), values);
    return *this;
  }
  OneNode& floats(const Dims& dims, const std::vector<float>& values) {
    names_.push_back("constant" + std::to_string(names_.size()));
    builder_.floats(names_.back(), dims, values);
    return *this;
  }
  OneNode& absent() {
    names_.emplace_back();
    return *this;
  }
  // Axis 0 of the inputs is the batch, so that images may run one by one.
  OneNode& batched() {
    is_open_ = true;
    return *this;
  }

  // The result number `which`.
  template <class T>
  std::vector<T> run(const std::string& op, const Json& attributes = Json::object(), std::size_t which = 0) {
    std::vector<std::string> results;
    for (std::size_t i = 0; i <= which; ++i) results.push_back("out" + std::to_string(i));
    const char* dtype = sizeof(T) == 1 ? "bool" : name_of_type(T{});
    builder_.node(op, names_, results, attributes).output(results.back(), dtype);
    const Session session(builder_.model(), Session::Options{2, default_isa()});
    std::vector<Dims> dims;
    for (const Session::Input& input : inputs_) dims.push_back(input.dims);
    const Session::OutputSpec spec = session.output_specs(dims).at(0);
    EXPECT_EQ(size_of(spec.dtype), sizeof(T));
    std::vector<T> result(count_of(spec.dims));
    std::vector<void*> targets = {result.data()};
    session.run(inputs_, targets);
    return result;
  }

 private:
  ModelBuilder builder_;
  std::vector<Session::Input> inputs_;
  std::vector<std::string> names_;
  bool is_open_ = false;
};

using Bytes = std::vector<std::uint8_t>;
using Floats = std::vector<float>;
using Wide = std::vector<std::int64_t>;
using Narrow = std::vector<std::int32_t>;

TEST(Operators, ComparisonsBroadcastAndKnowNan) {
  const Floats a = {1, 2, kNan, -0.0f, 5, 6}, b = {1, 3, 0};
  const auto compare = [&](const char* op) {
    return OneNode().in(Dims{2, 3}, a).in(Dims{3}, b).run<std::uint8_t>(op);
  };
  EXPECT_EQ(compare("Equal"), (Bytes{1, 0, 0, 0, 0, 0}));
  EXPECT_EQ(compare("Greater"), (Bytes{0, 0, 0, 0, 1, 1}));
  EXPECT_EQ(compare("GreaterOrEqual"), (Bytes{1, 0, 0, 0, 1, 1}));
  EXPECT_EQ(compare("Less"), (Bytes{0, 1, 0, 1, 0, 0}));
  EXPECT_EQ(compare("LessOrEqual"), (Bytes{1, 1, 0, 1, 0, 0}));
  const Wide i = {7, -2}, j = {7, 3};
  EXPECT_EQ(OneNode().in(Dims{2}, i).in(Dims{2}, j).run<std::uint8_t>("Less"), (Bytes{0, 1}));
}

TEST(Operators, LogicTakesAnyByteForTrue) {
  const Bytes a = {0, 1, 0, 255}, b = {0, 0, 1, 2};
  const auto combine = [&](const char* op) {
    return OneNode().batched().in(Dims{4}, a).in(Dims{4}, b).run<std::uint8_t>(op);
  };
  EXPECT_EQ(combine("And"), (Bytes{0, 0, 0, 1}));
  EXPECT_EQ(combine("Or"), (Bytes{0, 1, 1, 1}));
  EXPECT_EQ(combine("Xor"), (Bytes{0, 1, 1, 0}));
  EXPECT_EQ(combine("Equal"), (Bytes{1, 0, 0, 1}));
  EXPECT_EQ(OneNode().in(Dims{4}, a).run<std::uint8_t>("Not"), (Bytes{1, 0, 1, 0}));
  const Floats x = {1, 2, 3, 4};
  EXPECT_EQ(OneNode().in(Dims{4}, a).in(Dims{4}, x).floats({}, {-1}).run<float>("Where"),
            (Floats{-1, 2, -1, 4}));
}

TEST(Operators, CastsSaturate) {
  const Floats x = {1.9f, -1.9f, kNan, 1e20f, -1e20f};
  EXPECT_EQ(OneNode().in(Dims{5}, x).run<std::int32_t>("Cast", {{"to", 6}}),
            (Narrow{1, -1, 0, 2147483647, -2147483647 - 1}));
  EXPECT_EQ(OneNode().in(Dims{5}, x).run<std::uint8_t>("Cast", {{"to", 9}}), (Bytes{1, 1, 1, 1, 1}));
  const Wide wide = {-3, 4};
  EXPECT_EQ(OneNode().in(Dims{2}, wide).run<float>("Cast", {{"to", 1}}), (Floats{-3, 4}));
  const Bytes mask = {0, 7};
  EXPECT_EQ(OneNode().in(Dims{2}, mask).run<float>("Cast", {{"to", 1}}), (Floats{0, 1}));
}

TEST(Operators, IntegersDivideAsOnnxSays) {
  const Wide a = {7, -7, 7, -7, 5, std::numeric_limits<std::int64_t>::min()}, b = {2, 2, -2, -2, 0, -1};
  const auto compute = [&](const char* op) {
    return OneNode().in(Dims{6}, a).in(Dims{6}, b).run<std::int64_t>(op);
  };
  EXPECT_EQ(compute("Div"), (Wide{3, -3, -3, 3, 0, a[5]}));
  EXPECT_EQ(compute("Mod"), (Wide{1, 1, -1, -1, 0, 0}));
  EXPECT_EQ(compute("Max"), (Wide{7, 2, 7, -2, 5, -1}));
  EXPECT_EQ(OneNode().in(Dims{2, 3}, a).run<std::int64_t>("ReduceMax", {{"axes", {0}}, {"keepdims", 0}}),
            (Wide{7, 5, 7}));
  EXPECT_EQ(OneNode().in(Dims{2, 3}, Wide{1, 2, 3, 4, 5, 6}).run<std::int64_t>("ReduceSum", {{"axes", {1}}}),
            (Wide{6, 15}));
}

TEST(Operators, GatherByIndicesOfTheRun) {
  const Floats table = {0, 1, 10, 11, 20, 21};
  const Wide wide = {2, -3, 1, 0};
  const Narrow narrow = {2, -3, 1, 0};
  const Floats rows = {20, 21, 0, 1, 10, 11, 0, 1};
  EXPECT_EQ(OneNode().floats({3, 2}, table).batched().in(Dims{2, 2}, wide).run<float>("Gather"), rows);
  EXPECT_EQ(OneNode().floats({3, 2}, table).batched().in(Dims{2, 2}, narrow).run<float>("Gather"), rows);
  const Floats x = {0, 1, 2, 3, 4, 5};
  EXPECT_EQ(OneNode().in(Dims{2, 3}, x).in(Dims{2, 2}, wide).run<float>("GatherElements", {{"axis", 1}}),
            (Floats{2, 0, 4, 3}));
  EXPECT_EQ(OneNode().in(Dims{3, 2}, x).in(Dims{2, 2}, Wide{2, 1, -1, 0}).run<float>("GatherND"),
            (Floats{5, 4}));
  for (const char* op : {"Gather", "GatherElements", "GatherND"}) {
    for (const std::int64_t wrong : {std::int64_t{3}, std::int64_t{-4}, std::int64_t{1} << 62}) {
      EXPECT_THROW(OneNode().in(Dims{3}, Floats{0, 1, 2}).in(Dims{1}, Wide{wrong}).run<float>(op),
                   InvalidArgument);
    }
  }
}

TEST(Operators, TopKOrdersTiesByPlaceAndPutsNanLast) {
  const Floats x = {3, kNan, 5, 3, 5, 1};
  const auto top = [&](bool largest, std::size_t which) {
    OneNode node;
    node.in(Dims{6}, x).constants({4});
    return which == 0 ? node.run<float>("TopK", {{"largest", largest ? 1 : 0}}) : [&] {
      const Wide places = node.run<std::int64_t>("TopK", {{"largest", largest ? 1 : 0}}, 1);
      return Floats(places.begin(), places.end());
    }();
  };
  EXPECT_EQ(top(true, 0), (Floats{5, 5, 3, 3}));
  EXPECT_EQ(top(true, 1), (Floats{2, 4, 0, 3}));
  EXPECT_EQ(top(false, 0), (Floats{1, 3, 3, 5}));
  EXPECT_EQ(top(false, 1), (Floats{5, 0, 3, 2}));
  EXPECT_THROW(OneNode().in(Dims{6}, x).constants({7}).run<float>("TopK"), InvalidArgument);
}

TEST(Operators, CumulativeSums) {
  const Floats x = {1, 2, 3, 10, 20, 30};
  const auto sum = [&](int exclusive, int reverse) {
    return OneNode()
        .in(Dims{2, 3}, x)
        .constants({1})
        .run<float>("CumSum", {{"exclusive", exclusive}, {"reverse", reverse}});
  };
  EXPECT_EQ(sum(0, 0), (Floats{1, 3, 6, 10, 30, 60}));
  EXPECT_EQ(sum(1, 0), (Floats{0, 1, 3, 0, 10, 30}));
  EXPECT_EQ(sum(0, 1), (Floats{6, 5, 3, 60, 50, 30}));
  EXPECT_EQ(sum(1, 1), (Floats{5, 3, 0, 50, 30, 0}));
}

TEST(Operators, PaddingsThatRepeatTheData) {
  const Floats x = {1, 2, 3, 4, 5, 6};  // [2, 3]
  const auto pad = [&](const char* mode, const Wide& pads) {
    return OneNode().in(Dims{2, 3}, x).constants(pads).run<float>("Pad", {{"mode", mode}});
  };
  EXPECT_EQ(pad("reflect", {0, 2, 0, 1}), (Floats{3, 2, 1, 2, 3, 2, 6, 5, 4, 5, 6, 5}));
  EXPECT_EQ(pad("edge", {1, 0, 0, 1}), (Floats{1, 2, 3, 3, 1, 2, 3, 3, 4, 5, 6, 6}));
  EXPECT_EQ(pad("wrap", {0, 1, 0, 2}), (Floats{3, 1, 2, 3, 1, 2, 6, 4, 5, 6, 4, 5}));
  EXPECT_EQ(pad("reflect", {0, -1, 0, 1}), (Floats{2, 3, 2, 5, 6, 5}));
  EXPECT_EQ(pad("edge", {0, 0, 0, 0}), x);
  EXPECT_THROW(pad("reflect", {0, 3, 0, 0}), InvalidArgument);
  EXPECT_THROW(pad("wrap", {0, 4, 0, 0}), InvalidArgument);
  EXPECT_THROW(pad("mirror", {0, 0, 0, 0}), InvalidArgument);
}

TEST(Operators, BlocksOfPixelsAndChannels) {
  const Floats x = some_floats(2 * 12 * 2 * 3);
  const Dims dims = {2, 12, 2, 3};
  for (const bool columns_first : {false, true}) {
    const Floats y = OneNode().batched().in(dims, x).run<float>(
        "DepthToSpace", {{"blocksize", 2}, {"mode", columns_first ? "CRD" : "DCR"}});
    for (std::size_t i = 0; i < y.size(); ++i) {  // [2, 3, 4, 6]
      const std::size_t w = i % 6, h = i / 6 % 4, c = i / 24 % 3, n = i / 72;
      const std::size_t place = h % 2 * 2 + w % 2, channel = columns_first ? c * 4 + place : place * 3 + c;
      ASSERT_EQ(y[i], x[((n * 12 + channel) * 2 + h / 2) * 3 + w / 2]);
    }
    if (columns_first) continue;
    EXPECT_EQ(OneNode().in(Dims{2, 3, 4, 6}, y).run<float>("SpaceToDepth", {{"blocksize", 2}}), x);
  }
  EXPECT_THROW(OneNode().in(dims, x).run<float>("SpaceToDepth", {{"blocksize", 4}}), InvalidArgument);
}

TEST(Operators, GroupsAreNormalized) {
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

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

// One direction, in double: h and c after every step.
TEST(Operators, RecurrentLayersFollowTheirDefinition) {
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

TEST(Operators, GridSampleKnowsWhatLiesOutside) {
  const Floats x = {1, 2, 3, 4};  // [1, 1, 2, 2]
  const Floats grid = {-1, -1, 1, 1, 0, 0, 1.5f, 0, kNan, 0};
  const auto sample = [&](const Json& attributes) {
    return OneNode().in(Dims{1, 1, 2, 2}, x).in(Dims{1, 1, 5, 2}, grid).run<float>("GridSample", attributes);
  };
  const Floats aligned = sample({{"align_corners", 1}, {"padding_mode", "border"}});
  EXPECT_EQ(Floats(aligned.begin(), aligned.begin() + 4), (Floats{1, 4, 2.5f, 3}));
  const Floats zeros = sample({{"align_corners", 1}});
  EXPECT_EQ(Floats(zeros.begin(), zeros.begin() + 4), (Floats{1, 4, 2.5f, 2.25f}));
  EXPECT_EQ(zeros[4], 0);
  // At -1 and 1 without aligned corners a quarter of the neighbourhood is inside.
  const Floats corners = sample(Json::object());
  EXPECT_EQ(Floats(corners.begin(), corners.begin() + 3), (Floats{0.25f, 1, 2.5f}));
  const Floats mirrored = sample({{"align_corners", 1}, {"padding_mode", "reflection"}});
  EXPECT_EQ(mirrored[3], 2.75f);
}

TEST(Operators, CubicResizeKeepsWhatItPassesThrough) {
  const Floats x = some_floats(1 * 2 * 4 * 5);
  // With aligned corners, 4 to 7 and 5 to 9, every second pixel is one of the input.
  const Floats y = OneNode()
                       .in(Dims{1, 2, 4, 5}, x)
                       .absent()
                       .absent()
                       .constants({7, 9})
                       .run<float>("Resize", {{"mode", "cubic"},
                                              {"coordinate_transformation_mode", "align_corners"},
                                              {"axes", {2, 3}}});
  for (std::size_t c = 0; c < 2; ++c) {
    for (std::size_t h = 0; h < 4; ++h) {
      for (std::size_t w = 0; w < 5; ++w)
        ASSERT_NEAR(y[(c * 7 + 2 * h) * 9 + 2 * w], x[(c * 4 + h) * 5 + w], 1e-6);
    }
  }
  // Half-way between: -3/32, 19/32, 19/32, -3/32 for a = -0.75.
  const float middle = (-3 * x[0] + 19 * x[1] + 19 * x[2] - 3 * x[3]) / 32;
  EXPECT_NEAR(y[3], middle, 1e-6);
}

}  // namespace
}  // namespace qslim::test
