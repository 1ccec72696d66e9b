// SPDX-License-Identifier: Apache-2.0
//
// Int8 matrix products by usdot and sudot, of the bytes of A themselves. Contract: kernels.h.
#include "qslim/kernels/conv_blocks/epilogue_neon.h"
#include "qslim/kernels/conv_blocks/gather.h"
#include "qslim/kernels/conv_blocks/operands_neon.h"
#include "qslim/kernels/gemm_u8s8/kernels.h"

namespace qslim {
namespace {

struct I8mmOps : ByteOperands {
  QSLIM_INLINE static void multiply_add(Vector& acc, Operand a, Operand b) {
    asm volatile("usdot %[acc].4s, %[a].16b, %[b].16b" : [acc] "+w"(acc) : [a] "w"(a), [b] "w"(b));
  }
  template <int I>
  QSLIM_INLINE static void multiply_add_at(Vector& acc, Operand a, Operand b) {
    asm volatile("sudot %[acc].4s, %[b].16b, %[a].4b[%[i]]"
                 : [acc] "+w"(acc)
                 : [a] "w"(a), [b] "w"(b), [i] "i"(I));
  }
};

}  // namespace

void gather_u8_i8mm(const PatchBlock& patches) noexcept { gather_patches<CopyU8>(patches); }

void gemm_u8s8_requantize_i8mm(const GemmBlock& block, const Requantization& p) noexcept {
  multiply_block<I8mmOps>(block, RequantizeRows(p));
}

void gemm_u8s8_real_i8mm(const GemmBlock& block) noexcept { multiply_block<I8mmOps>(block, RealRows{}); }

}  // namespace qslim
