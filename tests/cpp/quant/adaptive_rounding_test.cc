// SPDX-License-Identifier: Apache-2.0
//
// Against every choice of small rows; tests/python/quant/post_training repeats the two passes in NumPy.
#include "qslim/quant/adaptive_rounding/adaptive_rounding.h"

#include <gtest/gtest.h>

#include <Eigen/Dense>
#include <cmath>
#include <random>
#include <vector>

#include "qslim/core/error.h"

namespace qslim {
namespace {

using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

struct Case {
  Matrix targets, low, high, sums, upper;

  Case(Eigen::Index rows, Eigen::Index size, unsigned seed) {
    std::mt19937 random(seed);
    std::normal_distribution<double> normal;
    const auto draw = [&] { return normal(random); };
    targets = 3 * Matrix::NullaryExpr(rows, size, draw);
    low = targets.array().floor(), high = targets.array().ceil();
    // Inputs that have much in common, so that rounding one element concerns the others.
    Matrix inputs = Matrix::NullaryExpr(4 * size, size, draw);
    inputs.colwise() += Eigen::VectorXd::NullaryExpr(4 * size, draw);
    sums = inputs.transpose() * inputs / static_cast<double>(4 * size);
    upper.resize(size, size);
    inverse_factor(static_cast<std::size_t>(size), {sums.data(), size_of(sums)},
                   {upper.data(), size_of(upper)});
  }

  Matrix round(Context& context, int most_sweeps = 50) const {
    Matrix integers(targets.rows(), targets.cols());
    round_rows(context, problem(), most_sweeps, {integers.data(), size_of(integers)});
    return integers;
  }
  RoundingProblem problem() const {
    return {static_cast<std::size_t>(targets.rows()),
            static_cast<std::size_t>(targets.cols()),
            {targets.data(), size_of(targets)},
            {low.data(), size_of(low)},
            {high.data(), size_of(high)},
            {sums.data(), size_of(sums)},
            {upper.data(), size_of(upper)}};
  }
  double form(const Eigen::RowVectorXd& row, Eigen::Index r) const {
    const Eigen::RowVectorXd d = row - targets.row(r);
    return d * sums * d.transpose();
  }
  static std::size_t size_of(const Matrix& m) { return static_cast<std::size_t>(m.size()); }
};

TEST(AdaptiveRounding, IsNearTheBestOfAllChoices) {
  Context context;
  double found = 0, best = 0, nearest = 0;
  for (unsigned seed = 0; seed < 40; ++seed) {
    const Case c(3, 8, seed);
    const Matrix integers = c.round(context);
    for (Eigen::Index r = 0; r < 3; ++r) {
      double least = std::numeric_limits<double>::infinity();
      for (int choice = 0; choice < 256; ++choice) {
        Eigen::RowVectorXd row = c.low.row(r);
        for (int k = 0; k < 8; ++k) row[k] = (choice >> k & 1) != 0 ? c.high(r, k) : c.low(r, k);
        least = std::min(least, c.form(row, r));
      }
      const double form = c.form(integers.row(r), r);
      EXPECT_GE(form, least * (1 - 1e-12));
      found += form, best += least;
      nearest += c.form(c.targets.row(r).array().rint(), r);
      for (int k = 0; k < 8; ++k) {
        EXPECT_TRUE(integers(r, k) == c.low(r, k) || integers(r, k) == c.high(r, k));
      }
    }
  }
  EXPECT_LT(found, 1.15 * best);
  EXPECT_LT(found, 0.7 * nearest);
}

TEST(AdaptiveRounding, TheInverseFactorIsUpperTriangularAndGivesTheInverse) {
  for (const Eigen::Index size : {1, 2, 3, 17, 100}) {
    const Case c(1, size, 11);
    EXPECT_TRUE(c.upper.isUpperTriangular(0));
    EXPECT_TRUE((c.upper.diagonal().array() > 0).all());
    EXPECT_LT((c.upper * c.sums * c.upper.transpose() - Matrix::Identity(size, size)).cwiseAbs().maxCoeff(),
              1e-9);
  }
  const Matrix indefinite = -Matrix::Identity(3, 3);
  std::vector<double> upper(9);
  EXPECT_THROW(inverse_factor(3, {indefinite.data(), 9}, {upper.data(), 9}), InvalidArgument);
}

// Each error moves all later elements at once, one after the other: what blocks of elements must give as well.
TEST(AdaptiveRounding, BlocksOfElementsChangeNoBit) {
  Context context;
  const Case c(5, 150, 2);
  const Matrix integers = c.round(context, 0);
  for (Eigen::Index r = 0; r < 5; ++r) {
    std::vector<double> left(c.targets.row(r).begin(), c.targets.row(r).end());
    for (Eigen::Index k = 0; k < 150; ++k) {
      const double rounded = std::clamp(std::nearbyint(left[k]), c.low(r, k), c.high(r, k));
      const double factor = (rounded - left[k]) / c.upper(k, k);
      EXPECT_EQ(integers(r, k), rounded);
      for (Eigen::Index j = k + 1; j < 150; ++j) left[j] += factor * c.upper(k, j);
    }
  }
}

TEST(AdaptiveRounding, NoSingleFlipIsLeftThatLowersTheForm) {
  Context context;
  const Case c(5, 33, 7);
  const Matrix integers = c.round(context);
  for (Eigen::Index r = 0; r < 5; ++r) {
    const double form = c.form(integers.row(r), r);
    for (int k = 0; k < 33; ++k) {
      Eigen::RowVectorXd row = integers.row(r);
      row[k] = c.low(r, k) + c.high(r, k) - row[k];
      EXPECT_GE(c.form(row, r), form * (1 - 1e-9));
    }
  }
}

TEST(AdaptiveRounding, ThreadsChangeNoBit) {
  const Case c(50, 40, 3);
  Context one, three(3, default_isa());
  EXPECT_EQ(c.round(one), c.round(three));
}

TEST(AdaptiveRounding, EqualNeighboursAndNoRows) {
  Context context;
  Case c(2, 5, 1);
  c.low = c.high = c.targets.array().rint();
  EXPECT_EQ(c.round(context), c.low);
  const Case none(0, 5, 1);
  EXPECT_EQ(none.round(context).size(), 0);
}

TEST(AdaptiveRounding, ExtentsThatDoNotFitAreRefused) {
  Context context;
  const Case c(2, 5, 1);
  RoundingProblem problem = c.problem();
  problem.size = 4;
  std::vector<double> integers(8);
  EXPECT_THROW(round_rows(context, problem, 1, {integers.data(), integers.size()}), InvalidArgument);
}

}  // namespace
}  // namespace qslim
