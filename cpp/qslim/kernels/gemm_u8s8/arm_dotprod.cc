// SPDX-License-Identifier: Apache-2.0
//
// Int8 matrix products by sdot, of bytes of A less 128. Contract: kernels.h.
#include "qslim/kernels/conv_blocks/epilogue_neon.h"
#include "qslim/kernels/conv_blocks/gather.h"
#include "qslim/kernels/conv_blocks/operands_neon.h"
#include "qslim/kernels/gemm_u8s8/kernels.h"

namespace qslim {
namespace {

struct DotprodOps : SignedByteOperands {
  QSLIM_INLINE static void multiply_add(Vector& acc, Operand a, Operand b) {
    asm volatile("sdot %[acc].4s, %[b].16b, %[a].16b" : [acc] "+w"(acc) : [a] "w"(a), [b] "w"(b));
  }
  template <int I>
  QSLIM_INLINE static void multiply_add_at(Vector& acc, Operand a, Operand b) {
    asm volatile("sdot %[acc].4s, %[b].16b, %[a].4b[%[i]]"
                 : [acc] "+w"(acc)
                 : [a] "w"(a), [b] "w"(b), [i] "i"(I));
  }
};

}  // namespace

void gather_u8_dotprod(const PatchBlock& patches) noexcept { gather_patches<CopyU8>(patches); }

void gemm_u8s8_requantize_dotprod(const GemmBlock& block, const Requantization& p) noexcept {
  multiply_block<DotprodOps>(block, RequantizeRows(p));
}

void gemm_u8s8_real_dotprod(const GemmBlock& block) noexcept {
  multiply_block<DotprodOps>(block, RealRows{});
}

}  // namespace qslim
