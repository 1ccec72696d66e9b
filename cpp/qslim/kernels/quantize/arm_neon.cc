// SPDX-License-Identifier: Apache-2.0
//
// Quantization and dequantization on NEON. Contract: kernels.h.
#include <arm_neon.h>

#include "qslim/kernels/quantize/kernels.h"

namespace qslim {
namespace {

struct Params4 {
  float32x4_t scale, inv_scale, lo, hi, zero_point;
};

// The first `count` lanes, 0 < count < 4; zeros after them.
float32x4_t load_first(const float* x, std::size_t count) {
  float lanes[4] = {};
  for (std::size_t i = 0; i < count; ++i) lanes[i] = x[i];
  return vld1q_f32(lanes);
}

// The parameters of the lanes: those of one channel for a whole row, or one channel for each element.
struct OneChannel {
  Params4 params;
  OneChannel(const ChannelParams& p, std::size_t r)
      : params{vdupq_n_f32(p.scale[r]), vdupq_n_f32(p.inv_scale[r]), vdupq_n_f32(p.lo[r]),
               vdupq_n_f32(p.hi[r]), vdupq_n_f32(p.zero_point[r])} {}
  Params4 at(std::size_t) const { return params; }
  Params4 at(std::size_t, std::size_t) const { return params; }
};

struct ChannelPerElement {
  const ChannelParams& p;
  Params4 at(std::size_t i) const {
    return {vld1q_f32(p.scale + i), vld1q_f32(p.inv_scale + i), vld1q_f32(p.lo + i), vld1q_f32(p.hi + i),
            vld1q_f32(p.zero_point + i)};
  }
  Params4 at(std::size_t i, std::size_t count) const {
    return {load_first(p.scale + i, count), load_first(p.inv_scale + i, count), load_first(p.lo + i, count),
            load_first(p.hi + i, count), load_first(p.zero_point + i, count)};
  }
};

// Integers in [-128, 255]. A comparison with NaN is false, which gives lo.
template <Rounding R>
int32x4_t quantize4(float32x4_t x, const Params4& g) {
  float32x4_t v = vmulq_f32(x, g.inv_scale);
  v = vbslq_f32(vcgtq_f32(v, g.lo), v, g.lo);
  v = vbslq_f32(vcltq_f32(v, g.hi), v, g.hi);
  if constexpr (R == Rounding::kTiesToEven) {
    v = vrndnq_f32(v);
  } else {
    const float32x4_t half = vbslq_f32(vdupq_n_u32(0x80000000u), v, vdupq_n_f32(kBelowHalf));
    v = vrndq_f32(vaddq_f32(v, half));
  }
  return vcvtq_s32_f32(vaddq_f32(v, g.zero_point));
}

// Low bytes.
uint8x8_t bytes_of(int32x4_t first, int32x4_t second) {
  return vreinterpret_u8_s8(vmovn_s16(vcombine_s16(vmovn_s32(first), vmovn_s32(second))));
}

template <Rounding R, class Channels>
void quantize(std::size_t n, const float* x, const Channels& channels, std::uint8_t* q) {
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    int32x4_t v[4];
    for (std::size_t j = 0; j < 4; ++j) {
      v[j] = quantize4<R>(vld1q_f32(x + i + 4 * j), channels.at(i + 4 * j));
    }
    vst1q_u8(q + i, vcombine_u8(bytes_of(v[0], v[1]), bytes_of(v[2], v[3])));
  }
  for (; i < n; i += 4) {
    const std::size_t count = n - i < 4 ? n - i : 4;
    const int32x4_t v = count == 4 ? quantize4<R>(vld1q_f32(x + i), channels.at(i))
                                   : quantize4<R>(load_first(x + i, count), channels.at(i, count));
    std::uint8_t bytes[8];
    vst1_u8(bytes, bytes_of(v, v));
    for (std::size_t j = 0; j < count; ++j) q[i + j] = bytes[j];
  }
}

int16x8_t widen(const std::int8_t* q) { return vmovl_s8(vld1_s8(q)); }
int16x8_t widen(const std::uint8_t* q) { return vreinterpretq_s16_u16(vmovl_u8(vld1_u8(q))); }

float32x4_t dequantize4(int16x4_t q, const Params4& g) {
  return vmulq_f32(vsubq_f32(vcvtq_f32_s32(vmovl_s16(q)), g.zero_point), g.scale);
}

template <class Q, class Channels>
void dequantize(std::size_t n, const Q* q, const Channels& channels, float* y) {
  std::size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const int16x8_t wide = widen(q + i);
    vst1q_f32(y + i, dequantize4(vget_low_s16(wide), channels.at(i)));
    vst1q_f32(y + i + 4, dequantize4(vget_high_s16(wide), channels.at(i + 4)));
  }
  for (; i < n; i += 4) {
    const std::size_t count = n - i < 4 ? n - i : 4;
    Q rest[8] = {};
    for (std::size_t j = 0; j < count; ++j) rest[j] = q[i + j];
    float lanes[4];
    vst1q_f32(lanes, dequantize4(vget_low_s16(widen(rest)), channels.at(i, count)));
    for (std::size_t j = 0; j < count; ++j) y[i + j] = lanes[j];
  }
}

}  // namespace
}  // namespace qslim

#define QSLIM_SUFFIX neon
#include "qslim/kernels/quantize/entry_points.inc"
