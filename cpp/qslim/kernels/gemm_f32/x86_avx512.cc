// SPDX-License-Identifier: Apache-2.0
//
// Float matrix products on AVX-512. Contract: kernels.h.
#include "qslim/kernels/x86_avx512.h"
#include "qslim/kernels/conv_blocks/epilogue_avx512.h"
#include "qslim/kernels/conv_blocks/gather.h"
#include "qslim/kernels/conv_blocks/operands_avx512.h"
#include "qslim/kernels/conv_blocks/tile.h"
#include "qslim/kernels/gemm_f32/kernels.h"

namespace qslim {
namespace {

struct Avx512Ops : Avx512Operands<FloatLanes> {
  QSLIM_INLINE static void multiply_add(Vector& acc, Operand a, Operand b) {
#if QSLIM_EMULATE_AVX512
    acc = _mm512_fmadd_ps(a, b, acc);
#else
    asm volatile("vfmadd231ps %[b], %[a], %[acc]" : [acc] "+v"(acc) : [a] "v"(a), [b] "v"(b));
#endif
  }
  static Vector start(const std::int32_t*, int) { return _mm512_setzero_ps(); }
};

struct ClampRows {
  static constexpr std::size_t kOutputBytes = 4;
  __m512 lo, hi;

  explicit ClampRows(const Clamp& clamp) : lo(_mm512_set1_ps(clamp.lo)), hi(_mm512_set1_ps(clamp.hi)) {}

  template <int MR, int NV>
  __attribute__((always_inline)) void store(const __m512 (&acc)[MR][NV], std::size_t columns, const float*,
                                            const float* bias, OutputRows y) const {
    QSLIM_UNROLL for (int j = 0; j < NV; ++j) {
      const __m512 b = _mm512_load_ps(bias + 16 * j);
      QSLIM_UNROLL for (int i = 0; i < MR; ++i) {
        // min and max return their second operand for NaN.
        const __m512 v = _mm512_min_ps(hi, _mm512_max_ps(lo, _mm512_add_ps(acc[i][j], b)));
        store_first_floats(y[i] + 64 * j, v, columns - static_cast<std::size_t>(16 * j));
      }
    }
  }
};

struct CopyF32 {
  using X = float;
  using A = float;
  static void copy(const X* x, std::size_t n, int, A* a) {
    for (std::size_t i = 0; i < n; i += 16) _mm512_storeu_ps(a + i, _mm512_loadu_ps(x + i));
  }
  static void fill(std::size_t n, int, A* a) {
    for (std::size_t i = 0; i < n; i += 16) _mm512_storeu_ps(a + i, _mm512_setzero_ps());
  }
};

}  // namespace

void gather_f32_avx512(const PatchBlock& patches) noexcept { gather_patches<CopyF32>(patches); }

void gemm_f32_avx512(const GemmBlock& block, const Clamp& clamp) noexcept {
  multiply_block<Avx512Ops>(block, ClampRows(clamp));
}

}  // namespace qslim
