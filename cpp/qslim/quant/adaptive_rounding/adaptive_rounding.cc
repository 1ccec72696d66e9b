// SPDX-License-Identifier: Apache-2.0
#include "qslim/quant/adaptive_rounding/adaptive_rounding.h"

#include <Eigen/Dense>
#include <algorithm>
#include <functional>
#include <vector>

#include "qslim/core/error.h"

namespace qslim {
namespace {

// Rows that share what is read of S and U: with their state they fit the second-level cache.
constexpr std::size_t kRowsAtOnce = 32;
// Elements that are rounded before the ones behind them move by all their errors at once.
constexpr std::size_t kElementsAtOnce = 64;
constexpr std::size_t kColumns = 8, kRows = 2;  // of a tile whose sums stay in registers

typedef double Pair __attribute__((vector_size(16)));  // a register of every 64-bit machine

Pair load_pair(const double* x) noexcept {
  Pair v;
  __builtin_memcpy(&v, x, sizeof v);
  return v;
}

void store_pair(double* x, Pair v) noexcept { __builtin_memcpy(x, &v, sizeof v); }

// To the nearest integer, ties to even; |x| < 2^51.
double to_nearest(double x) noexcept {
  constexpr double kMagic = 0x1.8p52;
  return (x + kMagic) - kMagic;
}

void add_scaled(std::size_t n, double factor, const double* x, double* y) noexcept {
  for (std::size_t i = 0; i < n; ++i) y[i] += factor * x[i];
}

// Rows of a matrix, `stride` apart.
template <typename T>
struct Rows {
  T* data;
  std::size_t stride;
  T* operator[](std::size_t i) const noexcept { return data + i * stride; }
};

// y[r, j] + f[r, 0] u[0, j] + f[r, 1] u[1, j] + ..., from the left, for a tile of y; u is [depth][kColumns].
template <std::size_t kHeight>
void add_products_to_tile(std::size_t depth, Rows<const double> f, const double* u, std::size_t columns,
                          Rows<double> y) noexcept {
  constexpr std::size_t kPairs = kColumns / 2;
  Pair sums[kHeight][kPairs];
  double all[kColumns] = {};
  for (std::size_t r = 0; r < kHeight; ++r) {
    std::copy_n(y[r], columns, all);
    for (std::size_t v = 0; v < kPairs; ++v) sums[r][v] = load_pair(all + 2 * v);
  }
  for (std::size_t k = 0; k < depth; ++k, u += kColumns) {
    for (std::size_t r = 0; r < kHeight; ++r) {
      for (std::size_t v = 0; v < kPairs; ++v) sums[r][v] += f[r][k] * load_pair(u + 2 * v);
    }
  }
  for (std::size_t r = 0; r < kHeight; ++r) {
    for (std::size_t v = 0; v < kPairs; ++v) store_pair(all + 2 * v, sums[r][v]);
    std::copy_n(all, columns, y[r]);
  }
}

// The same for `rows` rows and n columns; depth <= kElementsAtOnce.
void add_products(std::size_t rows, std::size_t depth, std::size_t n, Rows<const double> f,
                  Rows<const double> u, Rows<double> y) noexcept {
  double panel[kElementsAtOnce * kColumns] = {};
  for (std::size_t j = 0; j < n; j += kColumns) {
    const std::size_t columns = std::min(kColumns, n - j);
    for (std::size_t k = 0; k < depth; ++k) std::copy_n(u[k] + j, columns, panel + k * kColumns);
    std::size_t r = 0;
    for (; r + kRows <= rows; r += kRows) {
      add_products_to_tile<kRows>(depth, {f[r], f.stride}, panel, columns, {y[r] + j, y.stride});
    }
    for (; r < rows; ++r) {
      add_products_to_tile<1>(depth, {f[r], f.stride}, panel, columns, {y[r] + j, y.stride});
    }
  }
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
        state_(count * size_),
        factors_(count * kElementsAtOnce) {}

  void round_in_turn() {
    std::copy_n(targets_, count_ * size_, state_.data());
    for (std::size_t k = 0; k < size_; k += kElementsAtOnce) {
      const std::size_t end = std::min(k + kElementsAtOnce, size_);
      for (std::size_t row = 0; row < count_; ++row) round_elements(row, k, end);
      add_products(count_, end - k, size_ - end, {factors_.data(), kElementsAtOnce},
                   {upper_ + k * size_ + end, size_}, {state_.data() + end, size_});
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
  // The elements [begin, end) of a row; leaves what each of them moves the later ones by, in rows of U.
  void round_elements(std::size_t row, std::size_t begin, std::size_t end) {
    double* const state = &state_[row * size_];
    for (std::size_t k = begin; k < end; ++k) {
      const std::size_t i = row * size_ + k;
      const double* const upper = upper_ + k * size_;
      integers_[i] = std::clamp(to_nearest(state[k]), low_[i], high_[i]);
      const double factor = (integers_[i] - state[k]) / upper[k];
      factors_[row * kElementsAtOnce + k - begin] = factor;
      add_scaled(end - k - 1, factor, upper + k + 1, state + k + 1);
    }
  }

  // Half the gradient of the form: (integers - targets) S.
  void find_slopes() {
    std::fill(state_.begin(), state_.end(), 0.0);
    for (std::size_t k = 0; k < size_; k += kElementsAtOnce) {
      const std::size_t end = std::min(k + kElementsAtOnce, size_);
      for (std::size_t row = 0; row < count_; ++row) {
        const std::size_t i = row * size_ + k;
        std::transform(integers_ + i, integers_ + i + end - k, targets_ + i, &factors_[row * kElementsAtOnce],
                       std::minus<>());
      }
      add_products(count_, end - k, size_, {factors_.data(), kElementsAtOnce}, {sums_ + k * size_, size_},
                   {state_.data(), size_});
    }
  }

  std::size_t size_, count_;
  const double *targets_, *low_, *high_, *sums_, *upper_;
  double* integers_;
  std::vector<double> state_;    // what is left to round, then the slopes
  std::vector<double> factors_;  // [count, kElementsAtOnce]
};

// In place of a lower triangular matrix, its inverse: that of [[A, 0], [B, C]] is
// [[A^-1, 0], [-C^-1 B A^-1, C^-1]].
void invert_lower(Eigen::Ref<Eigen::MatrixXd> lower) {
  const Eigen::Index n = lower.rows();
  if (n == 0) return;
  if (n == 1) {
    lower(0, 0) = 1 / lower(0, 0);
    return;
  }
  const Eigen::Index half = n / 2, rest = n - half;
  auto below = lower.bottomLeftCorner(rest, half);
  invert_lower(lower.topLeftCorner(half, half));
  invert_lower(lower.bottomRightCorner(rest, rest));
  below = -(lower.bottomRightCorner(rest, rest).triangularView<Eigen::Lower>() * below).eval();
  below = (below * lower.topLeftCorner(half, half).triangularView<Eigen::Lower>()).eval();
}

}  // namespace

void inverse_factor(std::size_t size, Span<const double> sums, Span<double> upper) {
  QSLIM_REQUIRE(sums.size() == size * size && upper.size() == size * size, "inverse_factor: expected ", size,
                " rows and columns");
  using RowMajor = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  const auto n = static_cast<Eigen::Index>(size);
  // With J, which reverses the order: J S J = L L^T, so S = (J L J)(J L J)^T and U = (J L J)^-1 = J L^-1 J.
  Eigen::MatrixXd lower = Eigen::Map<const RowMajor>(sums.data(), n, n).reverse();
  const Eigen::LLT<Eigen::Ref<Eigen::MatrixXd>> factorization(lower);
  QSLIM_REQUIRE(factorization.info() == Eigen::Success, "inverse_factor: sums is not positive definite");
  lower.triangularView<Eigen::StrictlyUpper>().setZero();
  invert_lower(lower);
  Eigen::Map<RowMajor>(upper.data(), n, n) = lower.reverse();
}

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
