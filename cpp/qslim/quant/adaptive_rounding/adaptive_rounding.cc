// SPDX-License-Identifier: Apache-2.0
#include "qslim/quant/adaptive_rounding/adaptive_rounding.h"

#include <algorithm>
#include <vector>

#include "qslim/core/error.h"

namespace qslim {
namespace {

// Rows that share what is read of S and U: with their state they fit the second-level cache.
constexpr std::size_t kRowsAtOnce = 16;

// To the nearest integer, ties to even; |x| < 2^51.
double to_nearest(double x) noexcept {
  constexpr double kMagic = 0x1.8p52;
  return (x + kMagic) - kMagic;
}

void add_scaled(std::size_t n, double factor, const double* x, double* y) noexcept {
  for (std::size_t i = 0; i < n; ++i) y[i] += factor * x[i];
}

// The rows [first, first + count) of the problem.
class RowBlock {
 public:
  RowBlock(const RoundingProblem& problem, std::size_t first, std::size_t count, Span<double> integers)
      : size_(problem.size),
        count_(count),
        targets_(problem.targets.data() + first * size_),
        low_(problem.low.data() + first * size_),
        high_(problem.high.data() + first * size_),
        sums_(problem.sums.data()),
        upper_(problem.upper_factor.data()),
        integers_(integers.data() + first * size_),
        state_(count * size_) {}

  void round_in_turn() {
    std::copy_n(targets_, count_ * size_, state_.data());
    for (std::size_t k = 0; k < size_; ++k) {
      const double* const upper = upper_ + k * size_;
      for (std::size_t i = k; i < count_ * size_; i += size_) {
        const double rounded = std::clamp(to_nearest(state_[i]), low_[i], high_[i]);
        const double error = (state_[i] - rounded) / upper[k];
        integers_[i] = rounded;
        if (error != 0) add_scaled(size_ - k - 1, -error, upper + k + 1, &state_[i] + 1);
      }
    }
  }

  void flip(int most_sweeps) {
    find_slopes();
    for (int sweep = 0; sweep < most_sweeps; ++sweep) {
      bool is_done = true;
      for (std::size_t k = 0; k < size_; ++k) {
        const double* const sums = sums_ + k * size_;
        for (std::size_t i = k; i < count_ * size_; i += size_) {
          const double step = low_[i] + high_[i] - 2 * integers_[i];
          if (step * (2 * state_[i] + step * sums[k]) >= 0) continue;
          is_done = false;
          integers_[i] += step;
          add_scaled(size_, step, sums, &state_[i] - k);
        }
      }
      if (is_done) return;
    }
  }

 private:
  // Half the gradient of the form: (integers - targets) S.
  void find_slopes() {
    std::fill(state_.begin(), state_.end(), 0.0);
    for (std::size_t k = 0; k < size_; ++k) {
      for (std::size_t i = k; i < count_ * size_; i += size_) {
        add_scaled(size_, integers_[i] - targets_[i], sums_ + k * size_, &state_[i] - k);
      }
    }
  }

  std::size_t size_, count_;
  const double *targets_, *low_, *high_, *sums_, *upper_;
  double* integers_;
  std::vector<double> state_;  // what is left to round, then the slopes
};

}  // namespace

void round_rows(Context& context, const RoundingProblem& problem, int most_sweeps, Span<double> integers) {
  const std::size_t elements = problem.rows * problem.size, square = problem.size * problem.size;
  for (const std::size_t size :
       {problem.targets.size(), problem.low.size(), problem.high.size(), integers.size()}) {
    QSLIM_REQUIRE(size == elements, "round_rows: expected ", problem.rows, " rows of ", problem.size,
                  " elements, got ", size, " elements");
  }
  QSLIM_REQUIRE(problem.sums.size() == square && problem.upper_factor.size() == square,
                "round_rows: sums and upper_factor must have ", problem.size, " rows and columns");
  context.pool().for_each_block(problem.rows, kRowsAtOnce, [&](Block block) {
    RowBlock rows(problem, block.begin, block.size, integers);
    rows.round_in_turn();
    rows.flip(most_sweeps);
  });
}

}  // namespace qslim
