// SPDX-License-Identifier: Apache-2.0
//
// Int8 matrix products without vector intrinsics: pairs of int16, four columns at a time. Contract:
// kernels.h.
#include "qslim/kernels/conv_blocks/gather.h"
#include "qslim/kernels/conv_blocks/tile.h"
#include "qslim/kernels/gemm_u8s8/kernels.h"

namespace qslim {
namespace {

struct ScalarOps {
  struct Vector {
    std::int32_t lane[4];
  };
  struct Operand {
    std::int16_t pair[4][2];
  };
  static constexpr std::size_t kVectorBytes = 16, kMaxVectors = 2;
  static constexpr bool kFetchesAhead = false, kFourSteps = false;
  static constexpr int rows_for(int) { return 2; }

  static Operand load(const unsigned char* b) {
    Operand operand;
    __builtin_memcpy(&operand, b, sizeof operand);
    return operand;
  }
  static Operand broadcast(const unsigned char* a) {
    Operand operand;
    for (auto& pair : operand.pair) __builtin_memcpy(pair, a, 4);
    return operand;
  }
  static void multiply_add(Vector& acc, const Operand& a, const Operand& b) {
    for (int e = 0; e < 4; ++e) acc.lane[e] += a.pair[e][0] * b.pair[e][0] + a.pair[e][1] * b.pair[e][1];
  }
  static Vector start(const std::int32_t* start, int j) {
    Vector acc;
    __builtin_memcpy(&acc, start + 4 * j, sizeof acc);
    return acc;
  }
};

struct RequantizeRows {
  static constexpr std::size_t kOutputBytes = 1;
  float inverse_scale, lo, hi;  // bounds before zero_point is added
  std::int32_t zero_point;

  template <int MR, int NV>
  void store(const ScalarOps::Vector (&acc)[MR][NV], std::size_t columns, const float* multiplier,
             const float* bias, OutputRows y) const {
    constexpr float kMagic = 0x1.8p23f;  // the sum has no fraction bits left: adding it rounds, to even
    for (int i = 0; i < MR; ++i) {
      for (std::size_t n = 0; n < columns; ++n) {
        float v = static_cast<float>(acc[i][n / 4].lane[n % 4]) * multiplier[n] + bias[n];
        v *= inverse_scale;
        v = v > lo ? v : lo;
        v = v < hi ? v : hi;
        v = (v + kMagic) - kMagic;
        y[i][n] = static_cast<std::uint8_t>(static_cast<std::int32_t>(v) + zero_point);
      }
    }
  }
};

struct RealRows {
  static constexpr std::size_t kOutputBytes = 4;

  template <int MR, int NV>
  void store(const ScalarOps::Vector (&acc)[MR][NV], std::size_t columns, const float* multiplier,
             const float* bias, OutputRows y) const {
    for (int i = 0; i < MR; ++i) {
      for (std::size_t n = 0; n < columns; ++n) {
        const float v = static_cast<float>(acc[i][n / 4].lane[n % 4]) * multiplier[n] + bias[n];
        __builtin_memcpy(y[i] + 4 * n, &v, 4);
      }
    }
  }
};

struct CopyU8S16 {
  using X = std::uint8_t;
  using A = std::int16_t;
  static void copy(const X* x, std::size_t n, int zero, A* a) {
    for (std::size_t i = 0; i < n; ++i) a[i] = static_cast<A>(x[i] - zero);
  }
  static void fill(std::size_t n, int, A* a) {
    for (std::size_t i = 0; i < n; ++i) a[i] = 0;
  }
};

}  // namespace

void gather_u8_scalar(const PatchBlock& patches) noexcept { gather_patches<CopyU8S16>(patches); }

void gemm_u8s8_requantize_scalar(const GemmBlock& block, const Requantization& p) noexcept {
  multiply_block<ScalarOps>(block, RequantizeRows{p.inverse_scale, static_cast<float>(p.lo - p.zero_point),
                                                  static_cast<float>(p.hi - p.zero_point), p.zero_point});
}

void gemm_u8s8_real_scalar(const GemmBlock& block) noexcept { multiply_block<ScalarOps>(block, RealRows{}); }

}  // namespace qslim
