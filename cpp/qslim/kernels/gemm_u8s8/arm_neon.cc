// SPDX-License-Identifier: Apache-2.0
//
// Int8 matrix products on Armv8.0, of bytes of A less 128: products of 16 bits, each pair of which is added to
// a sum of its own. Contract: kernels.h.
#include "qslim/kernels/conv_blocks/epilogue_neon.h"
#include "qslim/kernels/conv_blocks/gather.h"
#include "qslim/kernels/conv_blocks/operands_neon.h"
#include "qslim/kernels/gemm_u8s8/kernels.h"

namespace qslim {
namespace {

// Sums of 4 columns: lanes 2 * i and 2 * i + 1 of `first` belong to column i, of `second` to column i + 2.
struct PairSums {
  int32x4_t first, second;
};

struct PairOps : SignedByteOperands {
  using Vector = PairSums;
  static constexpr bool kFourSteps = false;  // no lane of bytes multiplies a vector
  // 3 x 4 accumulators of two registers, 4 of B, 1 of A: 29 of 32, and two products.
  static constexpr int rows_for(int vectors) { return vectors == 4 ? 3 : vectors == 3 ? 4 : 6; }

  // |product| <= 128 * 128 fits 16 bits; the sum of two need not.
  QSLIM_INLINE static void multiply_add(Vector& acc, Operand a, Operand b) {
    int16x8_t low, high;
    asm volatile(
        "smull %[low].8h, %[b].8b, %[a].8b\n\t"
        "smull2 %[high].8h, %[b].16b, %[a].16b\n\t"
        "sadalp %[first].4s, %[low].8h\n\t"
        "sadalp %[second].4s, %[high].8h"
        : [first] "+w"(acc.first), [second] "+w"(acc.second), [low] "=&w"(low), [high] "=&w"(high)
        : [a] "w"(a), [b] "w"(b));
  }
  QSLIM_INLINE static Vector start(const std::int32_t* start, int j) {
    const int32x4_t columns = vld1q_s32(start + 4 * j), zero = vdupq_n_s32(0);
    return {vzip1q_s32(columns, zero), vzip2q_s32(columns, zero)};
  }
};

// Joins the sums of pairs before an epilogue takes them.
template <class Epilogue>
struct JoinPairs {
  static constexpr std::size_t kOutputBytes = Epilogue::kOutputBytes;
  Epilogue epilogue;

  template <int MR, int NV, class Rows>
  QSLIM_INLINE void store(const PairSums (&acc)[MR][NV], std::size_t columns, const float* multiplier,
                          const float* bias, const Rows& y) const {
    int32x4_t sums[MR][NV];
    QSLIM_UNROLL for (int i = 0; i < MR; ++i) {
      QSLIM_UNROLL for (int j = 0; j < NV; ++j) {
        sums[i][j] = vpaddq_s32(acc[i][j].first, acc[i][j].second);
      }
    }
    epilogue.template store<MR, NV>(sums, columns, multiplier, bias, y);
  }
};

}  // namespace

void gather_u8_neon(const PatchBlock& patches) noexcept { gather_patches<CopyU8>(patches); }

void gemm_u8s8_requantize_neon(const GemmBlock& block, const Requantization& p) noexcept {
  multiply_block<PairOps>(block, JoinPairs<RequantizeRows>{RequantizeRows(p)});
}

void gemm_u8s8_real_neon(const GemmBlock& block) noexcept {
  multiply_block<PairOps>(block, JoinPairs<RealRows>{});
}

}  // namespace qslim
