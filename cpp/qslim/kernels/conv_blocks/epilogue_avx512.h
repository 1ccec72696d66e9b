// SPDX-License-Identifier: Apache-2.0
//
// Epilogues of the AVX-512 kernels: from finished int32 sums, 16 to 64 columns of a few rows, to results.
// Columns come in the order of column_at(), packed. Included by AVX-512 files only; all names are internal to
// them.
//
// Values fit int32 with room for a zero point (gemm_block.h), and every narrowing to words saturates.
#pragma once

#include "qslim/kernels/conv_blocks/gemm_block.h"
#include "qslim/kernels/conv_blocks/unroll.h"
#include "qslim/kernels/x86_avx512.h"

namespace qslim {
namespace {

// Keeps a value in a register and its computation in its place.
#if QSLIM_EMULATE_AVX512
#define QSLIM_PIN(v) static_cast<void>(v)
#else
#define QSLIM_PIN(v) asm volatile("" : "+v"(v))
#endif

// The first `count` of the lanes, count > 0.
inline std::uint64_t first_lanes(std::size_t count) { return ~std::uint64_t{0} >> (64 - count); }

inline void store_first_floats(unsigned char* y, __m512 v, std::size_t count) {
  auto* to = reinterpret_cast<float*>(y);
  count >= 16 ? _mm512_storeu_ps(to, v)
              : _mm512_mask_storeu_ps(to, static_cast<__mmask16>(first_lanes(count)), v);
}

QSLIM_INLINE void store_first_bytes(unsigned char* y, __m512i v, std::size_t count) {
  count >= 64 ? _mm512_storeu_si512(y, v) : _mm512_mask_storeu_epi8(y, first_lanes(count), v);
}
QSLIM_INLINE void store_first_bytes(unsigned char* y, __m256i v, std::size_t count) {
  count >= 32 ? _mm256_storeu_si256(reinterpret_cast<__m256i*>(y), v)
              : _mm256_mask_storeu_epi8(y, static_cast<__mmask32>(first_lanes(count)), v);
}
QSLIM_INLINE void store_first_bytes(unsigned char* y, __m128i v, std::size_t count) {
  count >= 16 ? _mm_storeu_si128(reinterpret_cast<__m128i*>(y), v)
              : _mm_mask_storeu_epi8(y, static_cast<__mmask16>(first_lanes(count)), v);
}

// 128 bits of v; `i` is a constant once the loop around it is unrolled.
QSLIM_INLINE __m128i part_of(__m512i v, int i) {
  switch (i) {
    case 0: return _mm512_castsi512_si128(v);
    case 1: return _mm512_extracti32x4_epi32(v, 1);
    case 2: return _mm512_extracti32x4_epi32(v, 2);
    default: return _mm512_extracti32x4_epi32(v, 3);
  }
}

// Real values of 16 columns' sums.
QSLIM_INLINE __m512 rescale(__m512i acc, const float* multiplier, const float* bias) {
  return _mm512_add_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(acc), _mm512_load_ps(multiplier)),
                       _mm512_load_ps(bias));
}

// The same for rows of four vectors, one operation after the other on all of them, so that each finds its
// operands finished: 3 to 11 % of a depthwise kernel. GCC would bring the operations together again.
template <int kRows>
QSLIM_INLINE void rescale_stages(const __m512i (&acc)[kRows][4], const float* multiplier, const float* bias,
                                 __m512 (&real)[kRows][4]) {
  QSLIM_UNROLL for (int j = 0; j < 4; ++j) {
    QSLIM_UNROLL for (int u = 0; u < kRows; ++u) {
      real[u][j] = _mm512_cvtepi32_ps(acc[u][j]);
      QSLIM_PIN(real[u][j]);
    }
  }
  QSLIM_UNROLL for (int j = 0; j < 4; ++j) {
    __m512 m = _mm512_load_ps(multiplier + 16 * j);
    QSLIM_PIN(m);
    QSLIM_UNROLL for (int u = 0; u < kRows; ++u) {
      real[u][j] = _mm512_mul_ps(real[u][j], m);
      QSLIM_PIN(real[u][j]);
    }
  }
  QSLIM_UNROLL for (int j = 0; j < 4; ++j) {
    __m512 b = _mm512_load_ps(bias + 16 * j);
    QSLIM_PIN(b);
    QSLIM_UNROLL for (int u = 0; u < kRows; ++u) {
      real[u][j] = _mm512_add_ps(real[u][j], b);
      QSLIM_PIN(real[u][j]);
    }
  }
}

// What is done to a real value before it is rounded.
enum class BeforeRounding { kNothing, kSum, kHardSwish };

// The operations of formulas/elementwise.inc, one by one.
QSLIM_INLINE __m512 hard_swish(__m512 x) {
  const __m512 six = _mm512_set1_ps(6.0f);
  const __m512 gate = _mm512_max_ps(_mm512_add_ps(x, _mm512_set1_ps(3.0f)), _mm512_setzero_ps());
  return _mm512_div_ps(_mm512_mul_ps(x, _mm512_min_ps(gate, six)), six);
}

// 2^23, whose mantissa takes a byte: adding it to a byte's integer is placing that byte.
constexpr float kByteMagic = 0x1p23f;

// Vector j of NV of a row of bytes, in the order of column_at(): kByteMagic plus each of them.
template <int NV>
QSLIM_INLINE __m512 magic_bytes(const unsigned char* row, int j, std::size_t columns) {
  const __m512i magic = _mm512_set1_epi32(0x4b000000);
  if constexpr (NV % 2 != 0) {
    const auto first = static_cast<std::size_t>(16 * j), left = columns - first;
    const __m128i bytes =
        _mm_maskz_loadu_epi8(static_cast<__mmask16>(first_lanes(left < 16 ? left : 16)), row + first);
    return _mm512_castsi512_ps(_mm512_or_si512(_mm512_cvtepu8_epi32(bytes), magic));
  } else {
    // Group 4 * part + j of 4 bytes, of which there are NV in each part of 128 bits.
    __m512i bytes;
    if constexpr (NV == 4) {
      bytes = _mm512_maskz_loadu_epi8(first_lanes(columns < 64 ? columns : 64), row);
    } else {
      const __m256i half =
          _mm256_maskz_loadu_epi8(static_cast<__mmask32>(first_lanes(columns < 32 ? columns : 32)), row);
      bytes =
          _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 0, 1, 1, 2, 2, 3, 3), _mm512_castsi256_si512(half));
    }
    const int group = 4 * j;
    const __m512i places = _mm512_broadcast_i32x4(
        _mm_setr_epi8(static_cast<char>(group), 0, 0, 0, static_cast<char>(group + 1), 0, 0, 0,
                      static_cast<char>(group + 2), 0, 0, 0, static_cast<char>(group + 3), 0, 0, 0));
    return _mm512_castsi512_ps(_mm512_mask_shuffle_epi8(magic, 0x1111111111111111, bytes, places));
  }
}

// Rounded steps of four vectors, in the packed order, to the bytes of 64 columns. kFromZeroPoint: lo is the
// zero point, as behind a ReLU. Then bytes that cannot wrap are added, an instruction that does not compete
// with the products for a pipe as the saturating addition of words does.
template <bool kFromZeroPoint, BeforeRounding kBefore = BeforeRounding::kNothing>
struct RequantizeRows {
  static constexpr std::size_t kOutputBytes = 1;
  __m512 inverse_scale, residual_scale, residual_zero_point;
  __m512i zero_point, lo, hi;

  explicit RequantizeRows(const Requantization& p)
      : inverse_scale(_mm512_set1_ps(p.inverse_scale)),
        residual_scale(_mm512_set1_ps(p.residual_scale)),
        residual_zero_point(_mm512_set1_ps(kByteMagic + static_cast<float>(p.residual_zero_point))),
        zero_point(kFromZeroPoint ? _mm512_set1_epi8(static_cast<char>(p.zero_point))
                                  : _mm512_set1_epi16(static_cast<short>(p.zero_point))),
        lo(_mm512_set1_epi8(static_cast<char>(p.lo))),
        hi(_mm512_set1_epi8(static_cast<char>(kFromZeroPoint ? p.hi - p.zero_point : p.hi))) {}

  QSLIM_INLINE __m512i bytes(__m512i q0, __m512i q1, __m512i q2, __m512i q3) const {
    const __m512i low = _mm512_packs_epi32(q0, q1), high = _mm512_packs_epi32(q2, q3);
    if constexpr (kFromZeroPoint) {
      return _mm512_add_epi8(_mm512_min_epu8(_mm512_packus_epi16(low, high), hi), zero_point);
    } else {
      const __m512i q =
          _mm512_packus_epi16(_mm512_adds_epi16(low, zero_point), _mm512_adds_epi16(high, zero_point));
      return _mm512_min_epu8(_mm512_max_epu8(q, lo), hi);
    }
  }

  // Four vectors at a time: those of a row of 64 columns, of two rows of 32, of four of 16.
  template <int MR, int NV>
  QSLIM_INLINE void store(const __m512i (&acc)[MR][NV], std::size_t columns, const float* multiplier,
                          const float* bias, OutputRows y) const {
    __m512 multipliers[NV], biases[NV];
    QSLIM_UNROLL for (int j = 0; j < NV; ++j) {
      multipliers[j] = _mm512_load_ps(multiplier + 16 * j), biases[j] = _mm512_load_ps(bias + 16 * j);
    }
    QSLIM_UNROLL for (int first = 0; first < MR * NV; first += 4) {
      const auto round = [&](int i) __attribute__((always_inline)) {
        const int v = first + i < MR * NV ? first + i : MR * NV - 1;
        const __m512 product = _mm512_mul_ps(_mm512_cvtepi32_ps(acc[v / NV][v % NV]), multipliers[v % NV]);
        __m512 real = _mm512_add_ps(product, biases[v % NV]);
        if constexpr (kBefore == BeforeRounding::kHardSwish) real = hard_swish(real);
        if constexpr (kBefore == BeforeRounding::kSum) {
          const unsigned char* row = y.residual + static_cast<std::size_t>(v / NV) * y.stride;
          const __m512 steps = _mm512_sub_ps(magic_bytes<NV>(row, v % NV, columns), residual_zero_point);
          real = _mm512_add_ps(real, _mm512_mul_ps(steps, residual_scale));
        }
        return _mm512_cvtps_epi32(_mm512_mul_ps(real, inverse_scale));
      };
      const __m512i q = bytes(round(0), round(1), round(2), round(3));
      if constexpr (NV == 4) {
        store_first_bytes(y[first / NV], q, columns);
      } else if constexpr (NV == 2) {
        const __m512i rows = _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7), q);
        store_first_bytes(y[first / NV], _mm512_castsi512_si256(rows), columns);
        if (first / NV + 1 < MR) {
          store_first_bytes(y[first / NV + 1], _mm512_extracti64x4_epi64(rows, 1), columns);
        }
      } else {
        const __m512i parts = _mm512_permutexvar_epi32(
            _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), q);
        if (NV == 1 && first + 4 <= MR && columns == 16 && y.stride == 16) {
          _mm512_storeu_si512(y[first], parts);
          continue;
        }
        QSLIM_UNROLL for (int i = 0; i < 4; ++i) {
          const int v = first + i;
          if (v >= MR * NV) break;
          const auto column = static_cast<std::size_t>(16 * (v % NV));
          store_first_bytes(y[v / NV] + column, part_of(parts, i), columns - column);
        }
      }
    }
  }

  // kRows rows of 64 lanes, of kParts parts each: part g of row u goes to y[kRows * g + u], as far as there
  // are `rows`.
  template <int kRows, int kParts>
  QSLIM_INLINE void store_parts(const __m512i (&acc)[kRows][4], std::size_t channels, std::size_t rows,
                                const float* multiplier, const float* bias, unsigned char* const* y,
                                std::size_t offset) const {
    __m512 real[kRows][4];
    rescale_stages(acc, multiplier, bias, real);
    QSLIM_UNROLL for (int j = 0; j < 4; ++j) {
      QSLIM_UNROLL for (int u = 0; u < kRows; ++u) {
        if constexpr (kBefore == BeforeRounding::kHardSwish) real[u][j] = hard_swish(real[u][j]);
        real[u][j] = _mm512_mul_ps(real[u][j], inverse_scale);
        QSLIM_PIN(real[u][j]);
      }
    }
    QSLIM_UNROLL for (int u = 0; u < kRows; ++u) {
      __m512i q[4];
      QSLIM_UNROLL for (int j = 0; j < 4; ++j) {
        q[j] = _mm512_cvtps_epi32(real[u][j]);
        QSLIM_PIN(q[j]);
      }
      const __m512i lanes = bytes(q[0], q[1], q[2], q[3]);
      QSLIM_UNROLL for (int g = 0; g < kParts; ++g) {
        if (static_cast<std::size_t>(kRows * g + u) >= rows) break;
        unsigned char* to = y[kRows * g + u] + offset;
        if constexpr (kParts == 1) {
          store_first_bytes(to, lanes, channels);
        } else if constexpr (kParts == 2) {
          store_first_bytes(to, g == 0 ? _mm512_castsi512_si256(lanes) : _mm512_extracti64x4_epi64(lanes, 1),
                            channels);
        } else {
          store_first_bytes(to, part_of(lanes, g), channels);
        }
      }
    }
  }
};

// Call run() with the epilogue for p.
template <BeforeRounding kBefore = BeforeRounding::kNothing, class Run>
QSLIM_INLINE void with_requantize_rows(const Requantization& p, const Run& run) {
  // What ends in a HardSwish has negative results: one form is enough.
  if (kBefore != BeforeRounding::kHardSwish && p.lo == p.zero_point) {
    run(RequantizeRows<kBefore != BeforeRounding::kHardSwish, kBefore>(p));
  } else {
    run(RequantizeRows<false, kBefore>(p));
  }
}

// Four vectors in the packed order to 64 columns in theirs: a transposition of 4 x 4 parts of 128 bits.
QSLIM_INLINE void restore_order(__m512 (&v)[4]) {
  const __m512 a = _mm512_shuffle_f32x4(v[0], v[1], 0x44);
  const __m512 b = _mm512_shuffle_f32x4(v[2], v[3], 0x44);
  const __m512 c = _mm512_shuffle_f32x4(v[0], v[1], 0xee);
  const __m512 d = _mm512_shuffle_f32x4(v[2], v[3], 0xee);
  v[0] = _mm512_shuffle_f32x4(a, b, 0x88);
  v[1] = _mm512_shuffle_f32x4(a, b, 0xdd);
  v[2] = _mm512_shuffle_f32x4(c, d, 0x88);
  v[3] = _mm512_shuffle_f32x4(c, d, 0xdd);
}

struct RealRows {
  static constexpr std::size_t kOutputBytes = 4;

  template <int MR, int NV>
  __attribute__((always_inline)) void store(const __m512i (&acc)[MR][NV], std::size_t columns,
                                            const float* multiplier, const float* bias, OutputRows y) const {
    _Pragma("GCC unroll 16") for (int i = 0; i < MR; ++i) {
      __m512 v[NV];
      _Pragma("GCC unroll 16") for (int j = 0; j < NV; ++j) {
        v[j] = rescale(acc[i][j], multiplier + 16 * j, bias + 16 * j);
      }
      if constexpr (NV == 4) {
        restore_order(v);
      } else if constexpr (NV == 2) {
        const __m512 a = _mm512_shuffle_f32x4(v[0], v[1], 0x44);
        const __m512 b = _mm512_shuffle_f32x4(v[0], v[1], 0xee);
        v[0] = _mm512_shuffle_f32x4(a, a, 0xd8);
        v[1] = _mm512_shuffle_f32x4(b, b, 0xd8);
      }
      _Pragma("GCC unroll 16") for (int j = 0; j < NV; ++j) {
        const auto first = static_cast<std::size_t>(16 * j);
        if (columns > first) store_first_floats(y[i] + 64 * j, v[j], columns - first);
      }
    }
  }

  template <int kRows, int kParts>
  QSLIM_INLINE void store_parts(const __m512i (&acc)[kRows][4], std::size_t channels, std::size_t rows,
                                const float* multiplier, const float* bias, unsigned char* const* y,
                                std::size_t offset) const {
    __m512 real[kRows][4];
    rescale_stages(acc, multiplier, bias, real);
    QSLIM_UNROLL for (int u = 0; u < kRows; ++u) {
      restore_order(real[u]);
      QSLIM_UNROLL for (int j = 0; j < 4; ++j) {
        const int g = j * kParts / 4;
        const auto first = static_cast<std::size_t>(16 * (j % (4 / kParts)));
        if (static_cast<std::size_t>(kRows * g + u) >= rows || channels <= first) continue;
        store_first_floats(y[kRows * g + u] + offset + 4 * first, real[u][j], channels - first);
      }
    }
  }
};

}  // namespace
}  // namespace qslim
