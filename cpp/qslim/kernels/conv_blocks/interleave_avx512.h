// SPDX-License-Identifier: Apache-2.0
//
// Quadruples of bytes for vpdpbusd: what both depthwise kernels of AVX-512 VNNI are made of. Unpacking within
// 128 bits puts 64 channels in the order that packing the results undoes. Included by x86_avx512vnni.cc files
// only; all names are internal to them.
#pragma once

#include "qslim/kernels/conv_blocks/unroll.h"
#include "qslim/kernels/x86_avx512.h"

namespace qslim {
namespace {

// Four bytes of each of 64 channels.
struct Quadruples {
  __m512i part[4];
};

QSLIM_INLINE Quadruples interleave(__m512i a, __m512i b, __m512i c, __m512i d) {
  const __m512i ab_low = _mm512_unpacklo_epi8(a, b), ab_high = _mm512_unpackhi_epi8(a, b);
  const __m512i cd_low = _mm512_unpacklo_epi8(c, d), cd_high = _mm512_unpackhi_epi8(c, d);
  return {{_mm512_unpacklo_epi16(ab_low, cd_low), _mm512_unpackhi_epi16(ab_low, cd_low),
           _mm512_unpacklo_epi16(ab_high, cd_high), _mm512_unpackhi_epi16(ab_high, cd_high)}};
}

QSLIM_INLINE void multiply_add(__m512i& acc, __m512i u, __m512i s) {
#if QSLIM_EMULATE_AVX512
  acc = _mm512_dpbusd_epi32(acc, u, s);
#else
  asm("vpdpbusd %[s], %[u], %[acc]" : [acc] "+v"(acc) : [u] "v"(u), [s] "v"(s));
#endif
}

// With the signed operand in memory.
QSLIM_INLINE void multiply_add(__m512i& acc, __m512i u, const unsigned char* s) {
#if QSLIM_EMULATE_AVX512
  acc = _mm512_dpbusd_epi32(acc, u, _mm512_load_si512(s));
#else
  asm("vpdpbusd %[s], %[u], %[acc]"
      : [acc] "+v"(acc)
      : [u] "v"(u), [s] "m"(*reinterpret_cast<const __m512i*>(s)));
#endif
}

}  // namespace
}  // namespace qslim
