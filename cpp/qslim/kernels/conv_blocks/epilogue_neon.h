// SPDX-License-Identifier: Apache-2.0
//
// Epilogues of the NEON kernels: from finished int32 sums, up to 16 columns of a few rows in their order, to
// results. Included by arm_*.cc files only; all names are internal to them.
//
// Values fit int32 (gemm_block.h), and every narrowing from there on saturates.
#pragma once

#include <arm_neon.h>

#include "qslim/kernels/conv_blocks/gemm_block.h"
#include "qslim/kernels/conv_blocks/unroll.h"

namespace qslim {
namespace {

// The first `bytes` of v, 0 < bytes <= 16.
QSLIM_INLINE void store_first_bytes(unsigned char* y, uint8x16_t v, std::size_t bytes) {
  if (bytes == 16) {
    vst1q_u8(y, v);
    return;
  }
  uint8x8_t part = vget_low_u8(v);
  if ((bytes & 8) != 0) {
    vst1_u8(y, part);
    part = vget_high_u8(v);
    y += 8;
  }
  if ((bytes & 4) != 0) {
    const std::uint32_t word = vget_lane_u32(vreinterpret_u32_u8(part), 0);
    __builtin_memcpy(y, &word, 4);
    part = vext_u8(part, part, 4);
    y += 4;
  }
  if ((bytes & 2) != 0) {
    const std::uint16_t half = vget_lane_u16(vreinterpret_u16_u8(part), 0);
    __builtin_memcpy(y, &half, 2);
    part = vext_u8(part, part, 2);
    y += 2;
  }
  if ((bytes & 1) != 0) *y = vget_lane_u8(part, 0);
}

// 4 floats, of which the first `count` are real: 0 < count.
QSLIM_INLINE void store_first_floats(unsigned char* y, float32x4_t v, std::size_t count) {
  store_first_bytes(y, vreinterpretq_u8_f32(v), count < 4 ? 4 * count : 16);
}

// min(max(v, lo), hi), where v stays if it is NaN, and -0 if a bound is +0. The instructions for minimum and
// maximum return +0.
QSLIM_INLINE float32x4_t clamp_floats(float32x4_t v, float32x4_t lo, float32x4_t hi) {
  v = vbslq_f32(vcgtq_f32(lo, v), lo, v);
  return vbslq_f32(vcltq_f32(hi, v), hi, v);
}

// Real values of 4 columns' sums.
QSLIM_INLINE float32x4_t rescale(int32x4_t acc, const float* multiplier, const float* bias) {
  return vaddq_f32(vmulq_f32(vcvtq_f32_s32(acc), vld1q_f32(multiplier)), vld1q_f32(bias));
}

struct RequantizeRows {
  static constexpr std::size_t kOutputBytes = 1;
  float32x4_t inverse_scale;
  int16x8_t zero_point;
  uint8x16_t lo, hi;

  explicit RequantizeRows(const Requantization& p)
      : inverse_scale(vdupq_n_f32(p.inverse_scale)),
        zero_point(vdupq_n_s16(static_cast<std::int16_t>(p.zero_point))),
        lo(vdupq_n_u8(static_cast<std::uint8_t>(p.lo))),
        hi(vdupq_n_u8(static_cast<std::uint8_t>(p.hi))) {}

  QSLIM_INLINE int16x4_t columns4(int32x4_t acc, const float* multiplier, const float* bias) const {
    return vqmovn_s32(vcvtnq_s32_f32(vmulq_f32(rescale(acc, multiplier, bias), inverse_scale)));
  }
  // Up to 16 columns of one row.
  template <int NV>
  QSLIM_INLINE uint8x16_t columns(const int32x4_t (&acc)[NV], const float* multiplier,
                                  const float* bias) const {
    int16x4_t words[4] = {};
    QSLIM_UNROLL for (int j = 0; j < NV; ++j) words[j] = columns4(acc[j], multiplier + 4 * j, bias + 4 * j);
    const int16x8_t first = vqaddq_s16(vcombine_s16(words[0], words[1]), zero_point);
    const int16x8_t second = vqaddq_s16(vcombine_s16(words[2], words[3]), zero_point);
    return vminq_u8(vmaxq_u8(vcombine_u8(vqmovun_s16(first), vqmovun_s16(second)), lo), hi);
  }

  template <int MR, int NV, class Rows>
  QSLIM_INLINE void store(const int32x4_t (&acc)[MR][NV], std::size_t columns, const float* multiplier,
                          const float* bias, const Rows& y) const {
    QSLIM_UNROLL for (int i = 0; i < MR; ++i) {
      store_first_bytes(y[i], this->columns(acc[i], multiplier, bias), columns);
    }
  }
};

struct RealRows {
  static constexpr std::size_t kOutputBytes = 4;

  template <int MR, int NV, class Rows>
  QSLIM_INLINE void store(const int32x4_t (&acc)[MR][NV], std::size_t columns, const float* multiplier,
                          const float* bias, const Rows& y) const {
    QSLIM_UNROLL for (int i = 0; i < MR; ++i) {
      QSLIM_UNROLL for (int j = 0; j < NV; ++j) {
        const auto before = static_cast<std::size_t>(4 * j);
        if (j > 0 && columns <= before) break;
        store_first_floats(y[i] + 4 * before, rescale(acc[i][j], multiplier + before, bias + before),
                           columns - before);
      }
    }
  }
};

}  // namespace
}  // namespace qslim
