// SPDX-License-Identifier: Apache-2.0
//
// Float matrix products without vector intrinsics. A fused multiply-add is a library call on machines without
// the instruction: slow, and still the same bits. Contract: kernels.h.
#include "qslim/kernels/gemm_f32/kernels.h"

#include "qslim/kernels/conv_blocks/gather.h"
#include "qslim/kernels/conv_blocks/tile.h"

namespace qslim {
namespace {

struct ScalarOps {
  struct Vector {
    float lane[4];
  };
  using Operand = Vector;
  static constexpr std::size_t kVectorBytes = 16, kMaxVectors = 2;
  static constexpr bool kFetchesAhead = false, kFourSteps = false;
  static constexpr int rows_for(int) { return 2; }

  static Operand load(const unsigned char* b) {
    Operand operand;
    __builtin_memcpy(&operand, b, sizeof operand);
    return operand;
  }
  static Operand broadcast(const unsigned char* a) {
    float x;
    __builtin_memcpy(&x, a, 4);
    return {{x, x, x, x}};
  }
  static void multiply_add(Vector& acc, const Operand& a, const Operand& b) {
    for (int e = 0; e < 4; ++e) acc.lane[e] = __builtin_fmaf(a.lane[e], b.lane[e], acc.lane[e]);
  }
  static Vector start(const std::int32_t*, int) { return {}; }
};

struct ClampRows {
  static constexpr std::size_t kOutputBytes = 4;
  Clamp clamp;

  template <int MR, int NV>
  void store(const ScalarOps::Vector (&acc)[MR][NV], std::size_t columns, const float*, const float* bias,
             OutputRows y) const {
    for (int i = 0; i < MR; ++i) {
      for (std::size_t n = 0; n < columns; ++n) {
        float v = acc[i][n / 4].lane[n % 4] + bias[n];
        v = clamp.lo > v ? clamp.lo : v;
        v = clamp.hi < v ? clamp.hi : v;
        __builtin_memcpy(y[i] + 4 * n, &v, 4);
      }
    }
  }
};

struct CopyF32 {
  using X = float;
  using A = float;
  static void copy(const X* x, std::size_t n, int, A* a) { __builtin_memcpy(a, x, n * sizeof(float)); }
  static void fill(std::size_t n, int, A* a) { __builtin_memset(a, 0, n * sizeof(float)); }
};

}  // namespace

void gather_f32_scalar(const PatchBlock& patches) noexcept { gather_patches<CopyF32>(patches); }

void gemm_f32_scalar(const GemmBlock& block, const Clamp& clamp) noexcept {
  multiply_block<ScalarOps>(block, ClampRows{clamp});
}

}  // namespace qslim
