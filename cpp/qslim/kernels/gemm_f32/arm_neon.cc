// SPDX-License-Identifier: Apache-2.0
//
// Float matrix products on NEON. Contract: kernels.h.
#include "qslim/kernels/conv_blocks/epilogue_neon.h"
#include "qslim/kernels/conv_blocks/gather.h"
#include "qslim/kernels/conv_blocks/operands_neon.h"
#include "qslim/kernels/gemm_f32/kernels.h"

namespace qslim {
namespace {

struct ClampRows {
  static constexpr std::size_t kOutputBytes = 4;
  float32x4_t lo, hi;

  explicit ClampRows(const Clamp& clamp) : lo(vdupq_n_f32(clamp.lo)), hi(vdupq_n_f32(clamp.hi)) {}

  template <int MR, int NV>
  QSLIM_INLINE void store(const float32x4_t (&acc)[MR][NV], std::size_t columns, const float*,
                          const float* bias, OutputRows y) const {
    QSLIM_UNROLL for (int j = 0; j < NV; ++j) {
      const auto before = static_cast<std::size_t>(4 * j);
      const float32x4_t b = vld1q_f32(bias + before);
      QSLIM_UNROLL for (int i = 0; i < MR; ++i) {
        store_first_floats(y[i] + 4 * before, clamp_floats(vaddq_f32(acc[i][j], b), lo, hi),
                           columns - before);
      }
    }
  }
};

struct CopyF32 {
  using X = float;
  using A = float;
  static void copy(const X* x, std::size_t n, int, A* a) {
    for (std::size_t i = 0; i < n; i += 4) vst1q_f32(a + i, vld1q_f32(x + i));
  }
  static void fill(std::size_t n, int, A* a) {
    for (std::size_t i = 0; i < n; i += 4) vst1q_f32(a + i, vdupq_n_f32(0));
  }
};

}  // namespace

void gather_f32_neon(const PatchBlock& patches) noexcept { gather_patches<CopyF32>(patches); }

void gemm_f32_neon(const GemmBlock& block, const Clamp& clamp) noexcept {
  multiply_block<FloatOperands>(block, ClampRows(clamp));
}

}  // namespace qslim
