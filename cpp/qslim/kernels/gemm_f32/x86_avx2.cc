// SPDX-License-Identifier: Apache-2.0
//
// Float matrix products on AVX2 and FMA. Contract: kernels.h.
#include <immintrin.h>

#include "qslim/kernels/conv_blocks/epilogue_avx2.h"
#include "qslim/kernels/conv_blocks/gather.h"
#include "qslim/kernels/conv_blocks/operands_avx2.h"
#include "qslim/kernels/conv_blocks/tile.h"
#include "qslim/kernels/gemm_f32/kernels.h"

namespace qslim {
namespace {

struct FloatOps : Avx2Operands<FloatLanes> {
  static constexpr bool kFetchesAhead = true;
  // 6 x 2 accumulators, 2 of B, 1 of A: 15 of 16 registers, and enough sums to hide the latency of 4.
  static constexpr int rows_for(int vectors) { return vectors == 2 ? 6 : 12; }

  QSLIM_INLINE static void multiply_add(Vector& acc, Operand a, Operand b) {
    asm volatile("vfmadd231ps %[b], %[a], %[acc]" : [acc] "+x"(acc) : [a] "x"(a), [b] "x"(b));
  }
  static Vector start(const std::int32_t*, int) { return _mm256_setzero_ps(); }
};

struct ClampRows {
  static constexpr std::size_t kOutputBytes = 4;
  __m256 lo, hi;

  explicit ClampRows(const Clamp& clamp) : lo(_mm256_set1_ps(clamp.lo)), hi(_mm256_set1_ps(clamp.hi)) {}

  template <int MR, int NV>
  __attribute__((always_inline)) void store(const __m256 (&acc)[MR][NV], std::size_t columns, const float*,
                                            const float* bias, OutputRows y) const {
    QSLIM_UNROLL for (int j = 0; j < NV; ++j) {
      const __m256 b = _mm256_load_ps(bias + 8 * j);
      QSLIM_UNROLL for (int i = 0; i < MR; ++i) {
        // min and max return their second operand for NaN.
        const __m256 v = _mm256_min_ps(hi, _mm256_max_ps(lo, _mm256_add_ps(acc[i][j], b)));
        if (j == 0 || columns > 8)
          store_first_floats(y[i] + 32 * j, v, columns - static_cast<std::size_t>(8 * j));
      }
    }
  }
};

struct CopyF32 {
  using X = float;
  using A = float;
  static void copy(const X* x, std::size_t n, int, A* a) {
    for (std::size_t i = 0; i < n; i += 8) _mm256_storeu_ps(a + i, _mm256_loadu_ps(x + i));
  }
  static void fill(std::size_t n, int, A* a) {
    for (std::size_t i = 0; i < n; i += 8) _mm256_storeu_ps(a + i, _mm256_setzero_ps());
  }
};

}  // namespace

void gather_f32_avx2(const PatchBlock& patches) noexcept { gather_patches<CopyF32>(patches); }

void gemm_f32_avx2(const GemmBlock& block, const Clamp& clamp) noexcept {
  multiply_block<FloatOps>(block, ClampRows(clamp));
}

}  // namespace qslim
