// SPDX-License-Identifier: Apache-2.0
//
// Elementwise kernels for NEON. Contract: kernels.h.
//
// The loops of the scalar file are NEON already, as the baseline has it. The table is not: 4 lookups in 64
// entries each give 16 bytes, where the loop loads byte by byte.
#include <arm_neon.h>

#include "qslim/kernels/elementwise/kernels.h"
#include "qslim/kernels/loop_kernels.h"

namespace qslim {
namespace {

// Entries past the 64 leave a lane as it is.
QSLIM_INLINE uint8x16_t lookup16(uint8x16_t x, const uint8x16x4_t (&quarters)[4]) noexcept {
  uint8x16_t y = vqtbl4q_u8(quarters[0], x);
  for (int i = 1; i < 4; ++i) {
    x = vsubq_u8(x, vdupq_n_u8(64));
    y = vqtbx4q_u8(y, quarters[i], x);
  }
  return y;
}

}  // namespace

void elementwise_step_neon(ElementwiseOp op, std::size_t n, const float* a, const float* b, float p, float q,
                           float* y) noexcept {
  elementwise_step_scalar(op, n, a, b, p, q, y);
}

void table_u8_neon(std::size_t n, const std::uint8_t* x, const std::uint8_t* table,
                   std::uint8_t* y) noexcept {
  uint8x16x4_t quarters[4];
  for (int i = 0; i < 4; ++i) quarters[i] = vld1q_u8_x4(table + 64 * i);
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16) vst1q_u8(y + i, lookup16(vld1q_u8(x + i), quarters));
  for (; i < n; ++i) y[i] = table[x[i]];
}

void add_u8_u8_u8_neon(std::size_t n, const std::uint8_t* a, const std::uint8_t* b, const FusedParams& p,
                       std::uint8_t* q) noexcept {
  add_u8_u8_u8_scalar(n, a, b, p, q);
}

void mul_u8_f32_u8_neon(std::size_t n, const std::uint8_t* a, const float* b, const FusedParams& p,
                        std::uint8_t* q) noexcept {
  mul_u8_f32_u8_scalar(n, a, b, p, q);
}

}  // namespace qslim
