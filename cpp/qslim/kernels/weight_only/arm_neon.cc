// SPDX-License-Identifier: Apache-2.0
//
// Products with integer weights for NEON. Contract: kernels.h.
#include <arm_neon.h>

#include "qslim/formulas/inline.h"
#include "qslim/kernels/weight_only/kernels.h"

namespace qslim {
namespace {

struct Ops {
  using Vector = float32x4_t;
  static constexpr std::size_t kLanes = 4;
  QSLIM_INLINE static Vector zero() noexcept { return vdupq_n_f32(0); }
  QSLIM_INLINE static Vector load(const float* p) noexcept { return vld1q_f32(p); }
  QSLIM_INLINE static void store(float* p, Vector v) noexcept { vst1q_f32(p, v); }
  QSLIM_INLINE static Vector broadcast(const float* p) noexcept { return vld1q_dup_f32(p); }
  QSLIM_INLINE static Vector multiply(Vector a, Vector b) noexcept { return vmulq_f32(a, b); }
  QSLIM_INLINE static Vector multiply_add(Vector a, Vector b, Vector acc) noexcept {
    return vfmaq_f32(acc, a, b);
  }
};

QSLIM_INLINE void to_floats(int8x16_t bytes, float32x4_t (&w)[4]) noexcept {
  const int16x8_t low = vmovl_s8(vget_low_s8(bytes)), high = vmovl_s8(vget_high_s8(bytes));
  w[0] = vcvtq_f32_s32(vmovl_s16(vget_low_s16(low)));
  w[1] = vcvtq_f32_s32(vmovl_s16(vget_high_s16(low)));
  w[2] = vcvtq_f32_s32(vmovl_s16(vget_low_s16(high)));
  w[3] = vcvtq_f32_s32(vmovl_s16(vget_high_s16(high)));
}

struct Bytes {
  static constexpr std::size_t kSteps = 1;
  QSLIM_INLINE static void load(const std::uint8_t* from, float32x4_t (&w)[kSteps][4]) noexcept {
    to_floats(vreinterpretq_s8_u8(vld1q_u8(from)), w[0]);
  }
};

struct Nibbles {
  static constexpr std::size_t kSteps = 2;
  QSLIM_INLINE static void load(const std::uint8_t* from, float32x4_t (&w)[kSteps][4]) noexcept {
    const uint8x16_t both = vld1q_u8(from);
    const int8x16_t eight = vdupq_n_s8(8);
    to_floats(vsubq_s8(vreinterpretq_s8_u8(vandq_u8(both, vdupq_n_u8(15))), eight), w[0]);
    to_floats(vsubq_s8(vreinterpretq_s8_u8(vshrq_n_u8(both, 4)), eight), w[1]);
  }
};

}  // namespace
}  // namespace qslim

#define QSLIM_SUFFIX neon
#include "qslim/kernels/weight_only/panels.inc"
