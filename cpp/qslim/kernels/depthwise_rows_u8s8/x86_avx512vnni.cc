// SPDX-License-Identifier: Apache-2.0
//
// Int8 depthwise convolution by whole rows on AVX-512 VNNI. Contract: kernels.h, order of weights:
// depthwise_rows.h.
//
// Measured on Zen 4, cycles per output: 3x3 of stride 1 about 0.4, 5x5 about 0.8. vpdpbusd and vmulps share
// two pipes, so each of the 8 products of an epilogue costs as much as one of the convolution; loads come
// next. Hence
//   3x3, stride 1  two output rows share one interleaved column, whose fourth byte is then of use: 8 unpacks
//                  for 128 outputs
//   3x3, stride 2  pairs of columns: 11 unpacks for 64 outputs
//   5x5            7 groups of four taps for 25; sums slide over the columns. Low and high bytes in passes of
//                  their own keep sums and weights in registers; the sums of the first wait in memory.
#include "qslim/kernels/conv_blocks/epilogue_avx512.h"
#include "qslim/kernels/conv_blocks/interleave_avx512.h"
#include "qslim/kernels/depthwise_rows_u8s8/kernels.h"
#include "qslim/kernels/x86_avx512.h"

namespace qslim {
namespace {

constexpr std::size_t kBlock = DepthwiseRows::kBlock;

// Inlined into one function, the loops would compete for registers. They take their arguments by value: what
// they store could otherwise change them, and GCC would read them again.
#define QSLIM_OUTLINE __attribute__((noinline))

// Hides from the compiler where a pointer comes from, so that it addresses its operands by offsets. Otherwise
// GCC 12 keeps, and spills, a pointer for each.
QSLIM_INLINE const unsigned char* opaque(const unsigned char* p) {
  asm("" : "+r"(p));
  return p;
}

// Loads a line once, into a register: GCC would load it again as the operand of each instruction.
QSLIM_INLINE __m512i load(const unsigned char* p) {
  __m512i v = _mm512_loadu_si512(p);
#if !QSLIM_EMULATE_AVX512
  asm("" : "+v"(v));
#endif
  return v;
}

// The rows of x that one pass reads: kRows of them for each part, which are kStep apart.
template <int kRows, int kParts, int kStep>
struct InputRows {
  static constexpr int kAll = kRows + (kParts - 1) * kStep;
  const unsigned char* row[kAll];
  __m512i outside;
  std::size_t columns, step;

  // From row `first` of x and channel `channel`. Rows past the last one repeat it: what they give is not
  // stored.
  InputRows(const DepthwiseRows& d, std::size_t first, std::size_t channel)
      : outside(_mm512_set1_epi8(static_cast<char>(d.outside))), columns(d.columns), step(d.x_step) {
    const std::size_t last = (d.rows - 1) * d.stride + d.side - 1;
    for (std::size_t i = 0; i < kAll; ++i) row[i] = d.x[first + i < last ? first + i : last] + channel;
  }

  QSLIM_INLINE bool has(std::ptrdiff_t column) const { return static_cast<std::size_t>(column) < columns; }

  QSLIM_INLINE __m512i inside(int r, std::size_t offset) const {
    if constexpr (kParts == 1) {
      return load(row[r] + offset);
    } else if constexpr (kParts == 2) {
      const auto half = [&](int g) __attribute__((always_inline)) {
        return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(row[r + g * kStep] + offset));
      };
      return _mm512_inserti64x4(_mm512_castsi256_si512(half(0)), half(1), 1);
    } else {
      const auto part = [&](int g) __attribute__((always_inline)) {
        return _mm_loadu_si128(reinterpret_cast<const __m128i*>(row[r + g * kStep] + offset));
      };
      const __m512i two = _mm512_inserti32x4(_mm512_castsi128_si512(part(0)), part(1), 1);
      return _mm512_inserti32x4(_mm512_inserti32x4(two, part(2), 2), part(3), 3);
    }
  }
  QSLIM_INLINE __m512i at(int r, std::ptrdiff_t column) const {
    return has(column) ? inside(r, static_cast<std::size_t>(column) * step) : outside;
  }
  QSLIM_INLINE void bring(std::ptrdiff_t column, __m512i (&column_rows)[kRows]) const {
    QSLIM_UNROLL for (int r = 0; r < kRows; ++r) column_rows[r] = outside;
    if (!has(column)) return;
    const std::size_t offset = static_cast<std::size_t>(column) * step;
    QSLIM_UNROLL for (int r = 0; r < kRows; ++r) column_rows[r] = inside(r, offset);
  }
  // Rows 0 to 3.
  QSLIM_INLINE Quadruples quadruples(std::ptrdiff_t column) const {
    if (!has(column)) return {{outside, outside, outside, outside}};
    const std::size_t offset = static_cast<std::size_t>(column) * step;
    return interleave(inside(0, offset), inside(1, offset), inside(2, offset), inside(3, offset));
  }
};

// One pass: the channels of a block from `channel` on, of the output rows from `row` on.
struct Pass {
  std::size_t row, rows, channel, channels;
  const unsigned char* weights;
  const std::int32_t* start;
  const float* multiplier;
  const float* bias;
};

template <int kParts, class Epilogue>
QSLIM_OUTLINE void slide_3x3(const DepthwiseRows d, const Pass pass, const Epilogue epilogue) {
  const InputRows<4, kParts, 2> x(d, pass.row, pass.channel);
  __m512i w[2][4];  // of the upper row; the others are read from memory
  QSLIM_UNROLL for (int kw = 0; kw < 2; ++kw) {
    QSLIM_UNROLL for (int j = 0; j < 4; ++j) w[kw][j] = load(pass.weights + (kw * 4 + j) * 64);
  }
  std::ptrdiff_t column = d.first_column;
  Quadruples q[3];
  q[1] = x.quadruples(column), q[2] = x.quadruples(column + 1);
  column += 2;
  std::size_t y_offset = pass.channel * Epilogue::kOutputBytes;
  for (std::size_t i = 0; i < d.pixels; ++i, ++column, y_offset += d.y_step) {
    q[0] = q[1], q[1] = q[2];
    q[2] = x.quadruples(column);
    const unsigned char* memory = opaque(pass.weights);
    __m512i acc[2][4];
    QSLIM_UNROLL for (int j = 0; j < 4; ++j) {
      acc[0][j] = acc[1][j] = load(reinterpret_cast<const unsigned char*>(pass.start + 16 * j));
      multiply_add(acc[0][j], q[0].part[j], w[0][j]);
      multiply_add(acc[1][j], q[0].part[j], memory + (12 + j) * 64);
    }
    QSLIM_UNROLL for (int j = 0; j < 4; ++j) {
      multiply_add(acc[0][j], q[1].part[j], w[1][j]);
      multiply_add(acc[1][j], q[1].part[j], memory + (16 + j) * 64);
    }
    QSLIM_UNROLL for (int j = 0; j < 4; ++j) {
      multiply_add(acc[0][j], q[2].part[j], memory + (8 + j) * 64);
      multiply_add(acc[1][j], q[2].part[j], memory + (20 + j) * 64);
    }
    epilogue.template store_parts<2, kParts>(acc, pass.channels, pass.rows, pass.multiplier, pass.bias,
                                             d.y + pass.row, y_offset);
  }
}

template <int kParts, class Epilogue>
QSLIM_OUTLINE void slide_3x3_by_2(const DepthwiseRows d, const Pass pass, const Epilogue epilogue) {
  const InputRows<3, kParts, 2> x(d, 2 * pass.row, pass.channel);
  __m512i w[3][4], next[4];  // next: sums of the output that this pair of columns begins
  QSLIM_UNROLL for (int t = 0; t < 3; ++t) {
    QSLIM_UNROLL for (int j = 0; j < 4; ++j) w[t][j] = load(pass.weights + (t * 4 + j) * 64);
  }
  std::ptrdiff_t column = d.first_column;
  // The column before the first one does not count; it may hold anything.
  __m512i even[3];
  x.bring(column, even);
  __m512i low = _mm512_unpacklo_epi8(even[2], even[2]), high = _mm512_unpackhi_epi8(even[2], even[2]);
  const Quadruples first = interleave(even[0], even[0], even[1], even[1]);
  QSLIM_UNROLL for (int j = 0; j < 4; ++j) {
    next[j] = load(reinterpret_cast<const unsigned char*>(pass.start + 16 * j));
    multiply_add(next[j], first.part[j], w[1][j]);
  }
  ++column;
  std::size_t y_offset = pass.channel * Epilogue::kOutputBytes;
  for (std::size_t i = 0; i < d.pixels; ++i, column += 2, y_offset += d.y_step) {
    __m512i odd[3];
    x.bring(column, odd);
    x.bring(column + 1, even);
    const Quadruples q = interleave(odd[0], even[0], odd[1], even[1]);
    const __m512i pair_low = _mm512_unpacklo_epi8(odd[2], even[2]),
                  pair_high = _mm512_unpackhi_epi8(odd[2], even[2]);
    const Quadruples last = {{_mm512_unpacklo_epi16(low, pair_low), _mm512_unpackhi_epi16(low, pair_low),
                              _mm512_unpacklo_epi16(high, pair_high),
                              _mm512_unpackhi_epi16(high, pair_high)}};
    low = pair_low, high = pair_high;
    __m512i acc[1][4];
    QSLIM_UNROLL for (int j = 0; j < 4; ++j) {
      acc[0][j] = next[j];
      multiply_add(acc[0][j], last.part[j], w[2][j]);
    }
    QSLIM_UNROLL for (int j = 0; j < 4; ++j) {
      multiply_add(acc[0][j], q.part[j], w[0][j]);
      next[j] = load(reinterpret_cast<const unsigned char*>(pass.start + 16 * j));
      multiply_add(next[j], q.part[j], w[1][j]);
    }
    epilogue.template store_parts<1, kParts>(acc, pass.channels, pass.rows, pass.multiplier, pass.bias,
                                             d.y + pass.row, y_offset);
  }
}

// Half of the lanes of a 5x5 kernel: vectors 2 * kHalf and 2 * kHalf + 1 of the packed order, which unpacking
// the low or the high bytes gives.
template <int kParts, int kStride, int kHalf>
struct Half5x5 {
  static constexpr int kLive = kStride == 1 ? 5 : 3;  // outputs that see a column
  InputRows<5, kParts, kStride> x;
  const unsigned char* memory;
  const std::int32_t* start;
  __m512i w[5][2], acc[kLive][2];
  __m512i last, pair, pair_before;  // row 4: the column before; pairs that end there and one column earlier
  std::ptrdiff_t column;

  Half5x5(const DepthwiseRows& d, const Pass& pass, std::ptrdiff_t first_column)
      : x(d, pass.row * kStride, pass.channel),
        memory(pass.weights + 2 * kHalf * 64),
        start(pass.start + 2 * kHalf * 16),
        last(x.outside),
        pair(x.outside),
        pair_before(x.outside),
        column(first_column) {
    QSLIM_UNROLL for (int t = 0; t < 5; ++t) {
      QSLIM_UNROLL for (int j = 0; j < 2; ++j) w[t][j] = load(memory + (t * 4 + j) * 64);
    }
    QSLIM_UNROLL for (int t = 0; t < kLive; ++t) acc[t][0] = acc[t][1] = last;
  }

  QSLIM_INLINE static __m512i unpack(__m512i a, __m512i b) {
    return kHalf == 0 ? _mm512_unpacklo_epi8(a, b) : _mm512_unpackhi_epi8(a, b);
  }
  // Rows 0 to 3 of a column.
  QSLIM_INLINE void bring(std::ptrdiff_t at, __m512i (&q)[2]) const {
    q[0] = q[1] = x.outside;
    if (!x.has(at)) return;
    const std::size_t offset = static_cast<std::size_t>(at) * x.step;
    const __m512i upper = unpack(x.inside(0, offset), x.inside(1, offset));
    const __m512i lower = unpack(x.inside(2, offset), x.inside(3, offset));
    q[0] = _mm512_unpacklo_epi16(upper, lower), q[1] = _mm512_unpackhi_epi16(upper, lower);
  }
  // Take the next column, or pair of columns. Then acc[kLive - 1] is complete, if it saw its first column.
  QSLIM_INLINE void advance() {
    QSLIM_UNROLL for (int t = kLive - 1; t > 0; --t) {
      QSLIM_UNROLL for (int j = 0; j < 2; ++j) acc[t][j] = acc[t - 1][j];
    }
    QSLIM_UNROLL for (int j = 0; j < 2; ++j) {
      acc[0][j] = load(reinterpret_cast<const unsigned char*>(start + 16 * j));
    }
    const unsigned char* last_row = opaque(memory) + 20 * 64;
    __m512i q[2];
    bring(column, q);
    QSLIM_UNROLL for (int t = kLive - 1; t >= 0; --t) {
      QSLIM_UNROLL for (int j = 0; j < 2; ++j) multiply_add(acc[t][j], q[j], w[kStride * t][j]);
    }
    __m512i newest = x.at(4, column);
    if constexpr (kStride == 2) {
      last = newest;
      newest = x.at(4, column + 1);
      bring(column + 1, q);
      QSLIM_UNROLL for (int t = 1; t >= 0; --t) {
        QSLIM_UNROLL for (int j = 0; j < 2; ++j) multiply_add(acc[t][j], q[j], w[2 * t + 1][j]);
      }
    }
    const __m512i ended = unpack(last, newest), earlier = kStride == 1 ? pair_before : pair;
    last = newest, pair_before = pair, pair = ended;
    q[0] = _mm512_unpacklo_epi16(earlier, ended), q[1] = _mm512_unpackhi_epi16(earlier, ended);
    QSLIM_UNROLL for (int j = 0; j < 2; ++j) {
      multiply_add(acc[kLive - 1][j], q[j], last_row + (4 + j) * 64);
      multiply_add(acc[kLive - 2][j], q[j], last_row + j * 64);
    }
    column += kStride;
  }
};

constexpr std::size_t kPixels5x5 = 32;  // whose first half of the sums is kept: 4 KB

template <int kParts, int kStride, class Epilogue>
QSLIM_OUTLINE void slide_5x5(const DepthwiseRows d, const Pass pass, const Epilogue epilogue) {
  using Low = Half5x5<kParts, kStride, 0>;
  using High = Half5x5<kParts, kStride, 1>;
  __m512i sums[kPixels5x5][2];
  for (std::size_t begin = 0; begin < d.pixels; begin += kPixels5x5) {
    const std::size_t pixels = d.pixels - begin < kPixels5x5 ? d.pixels - begin : kPixels5x5;
    const std::ptrdiff_t column = d.first_column + static_cast<std::ptrdiff_t>(begin * kStride);
    {
      Low low(d, pass, column);
      for (int i = 0; i + 1 < Low::kLive; ++i) low.advance();
      for (std::size_t i = 0; i < pixels; ++i) {
        low.advance();
        sums[i][0] = low.acc[Low::kLive - 1][0], sums[i][1] = low.acc[Low::kLive - 1][1];
      }
    }
    High high(d, pass, column);
    for (int i = 0; i + 1 < High::kLive; ++i) high.advance();
    std::size_t y_offset = begin * d.y_step + pass.channel * Epilogue::kOutputBytes;
    for (std::size_t i = 0; i < pixels; ++i, y_offset += d.y_step) {
      high.advance();
      const __m512i acc[1][4] = {
          {sums[i][0], sums[i][1], high.acc[High::kLive - 1][0], high.acc[High::kLive - 1][1]}};
      epilogue.template store_parts<1, kParts>(acc, pass.channels, pass.rows, pass.multiplier, pass.bias,
                                               d.y + pass.row, y_offset);
    }
  }
}

template <int kParts, class Epilogue>
void slide_parts(const DepthwiseRows& d, Pass pass, const Epilogue& epilogue) {
  const bool has_pairs = d.side == 3 && d.stride == 1;
  const std::size_t step = has_pairs ? 2 * kParts : kParts;
  for (pass.row = 0; pass.row < d.rows; pass.row += step) {
    pass.rows = d.rows - pass.row < step ? d.rows - pass.row : step;
    if (d.side == 5) {
      d.stride == 1 ? slide_5x5<kParts, 1>(d, pass, epilogue) : slide_5x5<kParts, 2>(d, pass, epilogue);
    } else {
      d.stride == 1 ? slide_3x3<kParts>(d, pass, epilogue) : slide_3x3_by_2<kParts>(d, pass, epilogue);
    }
  }
}

template <class Epilogue>
void slide(const DepthwiseRows& d, const Epilogue& epilogue) {
  const std::size_t block_bytes = row_steps(d.side, d.stride) * kBlock * 4;
  const auto* weights = static_cast<const unsigned char*>(d.weights);
  for (std::size_t c = 0; c < d.channels; c += kBlock, weights += block_bytes) {
    const std::size_t left = d.channels - c, channels = left < kBlock ? left : kBlock;
    const Pass pass = {0, 0, c, channels, weights, d.start + c, d.multiplier + c, d.bias + c};
    switch (row_parts(left)) {
      case 1: slide_parts<1>(d, pass, epilogue); break;
      case 2: slide_parts<2>(d, pass, epilogue); break;
      default: slide_parts<4>(d, pass, epilogue);
    }
  }
}

}  // namespace

void depthwise_rows_u8s8_requantize_avx512vnni(const DepthwiseRows& rows, const Requantization& p) noexcept {
  with_requantize_rows(p, [&](const auto& epilogue) { slide(rows, epilogue); });
}

void depthwise_rows_u8s8_requantize_hard_swish_avx512vnni(const DepthwiseRows& rows,
                                                          const Requantization& p) noexcept {
  with_requantize_rows<BeforeRounding::kHardSwish>(p, [&](const auto& epilogue) { slide(rows, epilogue); });
}

void depthwise_rows_u8s8_real_avx512vnni(const DepthwiseRows& rows) noexcept { slide(rows, RealRows{}); }

}  // namespace qslim
