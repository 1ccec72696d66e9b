// SPDX-License-Identifier: Apache-2.0
//
// Int8 depthwise convolution on AVX2: 16 channels of two taps, widened and interleaved, are the pairs that
// vpmaddwd sums exactly. Contract: kernels.h.
#include <immintrin.h>

#include "qslim/kernels/conv_blocks/epilogue_avx2.h"
#include "qslim/kernels/depthwise_u8s8/kernels.h"

namespace qslim {
namespace {

constexpr std::size_t kBlock = 16;

__attribute__((always_inline)) inline __m256i widen(const unsigned char* x) {
  return _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(x)));
}

__attribute__((always_inline)) inline __m256i load(const unsigned char* p) {
  return _mm256_load_si256(reinterpret_cast<const __m256i*>(p));
}

// Steps > 0: so many, unrolled; 0: as many as the span says.
template <int Steps, class Epilogue>
void depthwise(const DepthwiseSpan& span, const Epilogue& epilogue) {
  const std::size_t steps = Steps > 0 ? Steps : span.steps;
  const auto* weights = static_cast<const unsigned char*>(span.weights);
  const auto* start = reinterpret_cast<const unsigned char*>(span.start);
  for (std::size_t c = 0; c < span.channels; c += kBlock, weights += steps * kBlock * 4) {
    const std::size_t channels = span.channels - c < kBlock ? span.channels - c : kBlock;
    const __m256i start0 = load(start + 4 * c), start1 = load(start + 4 * c + 32);
    unsigned char* y = span.y + c * Epilogue::kOutputBytes;
    std::size_t offset = c;
    for (std::size_t i = 0; i < span.pixels; ++i, offset += span.x_step, y += span.y_step) {
      __m256i acc[1][2] = {{start0, start1}};
      const auto add = [&](std::size_t step) __attribute__((always_inline)) {
        const __m256i first = widen(span.x[2 * step] + offset), second = widen(span.x[2 * step + 1] + offset);
        const unsigned char* w = weights + step * kBlock * 4;
        acc[0][0] =
            _mm256_add_epi32(acc[0][0], _mm256_madd_epi16(_mm256_unpacklo_epi16(first, second), load(w)));
        acc[0][1] = _mm256_add_epi32(acc[0][1],
                                     _mm256_madd_epi16(_mm256_unpackhi_epi16(first, second), load(w + 32)));
      };
      if constexpr (Steps > 0) {
        _Pragma("GCC unroll 16") for (int step = 0; step < Steps; ++step) add(static_cast<std::size_t>(step));
      } else {
        for (std::size_t step = 0; step < steps; ++step) add(step);
      }
      epilogue.template store<1, 2>(acc, channels, span.multiplier + c, span.bias + c, &y);
    }
  }
}

// The two halves of 16 channels.
struct Sums {
  __m256i low, high;
};

__attribute__((always_inline)) inline Sums interleave(__m256i a, __m256i b) {
  return {_mm256_unpacklo_epi16(a, b), _mm256_unpackhi_epi16(a, b)};
}

__attribute__((always_inline)) inline Sums multiply_add(const Sums& acc, const Sums& pairs,
                                                        const unsigned char* weights) {
  return {_mm256_add_epi32(acc.low, _mm256_madd_epi16(pairs.low, load(weights))),
          _mm256_add_epi32(acc.high, _mm256_madd_epi16(pairs.high, load(weights + 32)))};
}

// 3x3, sliding: each column is widened and interleaved once for the three outputs that see it. With rows 0
// and 1 of column c paired in A(c), and columns c and c + 1 of row 2 in B(c), output i is
//   A(i) * w[0] + A(i + 1) * w[1] + A(i + 2) * w[2] + B(i) * w[3] + B(i + 1) * w[4].
template <class Epilogue>
void slide_3x3(const DepthwiseSpan& span, const Epilogue& epilogue) {
  const auto* weights = static_cast<const unsigned char*>(span.weights);
  const auto* start_bytes = reinterpret_cast<const unsigned char*>(span.start);
  constexpr std::size_t kStep = kBlock * 4;
  // Copies: a store through y could otherwise change them, and the loop is short.
  const std::size_t pixels = span.pixels, x_step = span.x_step, y_step = span.y_step;
  for (std::size_t c = 0; c < span.channels; c += kBlock, weights += 5 * kStep) {
    const std::size_t channels = span.channels - c < kBlock ? span.channels - c : kBlock;
    const Sums start = {load(start_bytes + 4 * c), load(start_bytes + 4 * c + 32)};
    const unsigned char* row0 = span.x[0] + c;
    const unsigned char* row1 = span.x[1] + c;
    const unsigned char* row2 = span.x[6] + c;
    const float *multiplier = span.multiplier + c, *bias = span.bias + c;
    unsigned char* y = span.y + c * Epilogue::kOutputBytes;

    Sums a = interleave(widen(row0), widen(row1));
    Sums current = multiply_add(start, a, weights);
    __m256i before = widen(row2);
    std::size_t offset = x_step;
    a = interleave(widen(row0 + offset), widen(row1 + offset));
    __m256i now = widen(row2 + offset);
    current =
        multiply_add(multiply_add(current, a, weights + kStep), interleave(before, now), weights + 3 * kStep);
    Sums next = multiply_add(start, a, weights);
    for (std::size_t i = 0; i < pixels; ++i, y += y_step) {
      before = now;
      offset += x_step;
      a = interleave(widen(row0 + offset), widen(row1 + offset));
      now = widen(row2 + offset);
      const Sums b = interleave(before, now);
      current = multiply_add(multiply_add(current, a, weights + 2 * kStep), b, weights + 4 * kStep);
      const __m256i acc[1][2] = {{current.low, current.high}};
      epilogue.template store<1, 2>(acc, channels, multiplier, bias, &y);
      current = multiply_add(multiply_add(next, a, weights + kStep), b, weights + 3 * kStep);
      next = multiply_add(start, a, weights);
    }
  }
}

// The same by volatile assembly, which keeps its order and takes weights from memory. Left to itself, GCC 12
// loads all of them before the loop and, with the sums of 5x5, spills those inside it: a tenth of the time.
// 3x3 is a tenth faster when left to itself.
__attribute__((always_inline)) inline __m256i multiply_add_in_order(__m256i acc, __m256i pairs,
                                                                    const unsigned char* weights) {
  __m256i sum;
  asm volatile(
      "vpmaddwd %[weights], %[pairs], %[sum]\n\tvpaddd %[acc], %[sum], %[sum]"
      : [sum] "=&x"(sum)
      : [acc] "x"(acc), [pairs] "x"(pairs), [weights] "m"(*reinterpret_cast<const __m256i*>(weights)));
  return sum;
}

template <int Side>
__attribute__((always_inline)) inline void accumulate(Sums& acc, const Sums& pairs,
                                                      const unsigned char* weights) {
  if constexpr (Side == 3) {
    acc = multiply_add(acc, pairs, weights);
  } else {
    acc = {multiply_add_in_order(acc.low, pairs.low, weights),
           multiply_add_in_order(acc.high, pairs.high, weights + 32)};
  }
}

// The rows of one block of channels, from the first column of the first output on, and its weights by step:
// per column the pairs of rows (0, 1) and, of 5, (2, 3); then the last row's pairs of columns, of which the
// last is (none, Side - 1). See tap_order().
template <int Side>
struct Rows {
  static constexpr int kPairs = Side / 2, kLastRow = Side * kPairs;
  const unsigned char* row[Side];
  const unsigned char* weights;

  __attribute__((always_inline)) Rows(const DepthwiseSpan& span, std::size_t c, const unsigned char* w)
      : weights(w) {
    _Pragma("GCC unroll 4") for (int i = 0; i + 1 < Side; ++i) row[i] = span.x[i] + c;
    row[Side - 1] = span.x[Side * (Side - 1)] + c;
  }
  // Kernel column First + i * Step of acc[i], i < Count, in the image column at `offset`: all rows but the
  // last.
  template <int First, int Step, int Count>
  __attribute__((always_inline)) void add_column(std::size_t offset, Sums* acc) const {
    _Pragma("GCC unroll 4") for (int p = 0; p < kPairs; ++p) {
      const Sums pair = interleave(widen(row[2 * p] + offset), widen(row[2 * p + 1] + offset));
      _Pragma("GCC unroll 8") for (int i = 0; i < Count; ++i) {
        accumulate<Side>(acc[i], pair, step((First + i * Step) * kPairs + p));
      }
    }
  }
  __attribute__((always_inline)) __m256i last_row(std::size_t offset) const {
    return widen(row[Side - 1] + offset);
  }
  __attribute__((always_inline)) const unsigned char* step(int i) const {
    return weights + static_cast<std::size_t>(i) * kBlock * 4;
  }
};

template <class Epilogue>
struct Outputs {
  const Epilogue& epilogue;
  std::size_t channels, y_step;
  const float *multiplier, *bias;
  unsigned char* y;

  Outputs(const DepthwiseSpan& span, const Epilogue& e, std::size_t c)
      : epilogue(e),
        channels(span.channels - c < kBlock ? span.channels - c : kBlock),
        y_step(span.y_step),
        multiplier(span.multiplier + c),
        bias(span.bias + c),
        y(span.y + c * Epilogue::kOutputBytes) {}
  __attribute__((always_inline)) void emit(const Sums& sums) {
    const __m256i acc[1][2] = {{sums.low, sums.high}};
    epilogue.template store<1, 2>(acc, channels, multiplier, bias, &y);
    y += y_step;
  }
};

// 5x5: every image column is column k of acc[k]'s output. Live: so many outputs have begun, this column's
// included. The last row comes in pairs of this column and the one before it.
template <int Live>
__attribute__((always_inline)) inline void slide_column(const Rows<5>& rows, std::size_t offset,
                                                        __m256i& before, const Sums& start, Sums* acc) {
  constexpr int kLastRow = Rows<5>::kLastRow;
  _Pragma("GCC unroll 8") for (int k = Live - 1; k > 0; --k) acc[k] = acc[k - 1];
  acc[0] = start;
  rows.template add_column<0, 1, Live>(offset, acc);
  const __m256i now = rows.last_row(offset);
  const Sums pair = interleave(before, now);
  before = now;
  _Pragma("GCC unroll 4") for (int k = 1; k < Live; k += 2) {
    accumulate<5>(acc[k], pair, rows.step(kLastRow + k / 2));
  }
  if (Live == 5) accumulate<5>(acc[4], pair, rows.step(kLastRow + 2));
}

template <class Epilogue>
void slide_5x5(const DepthwiseSpan& span, const Epilogue& epilogue) {
  const auto* weights = static_cast<const unsigned char*>(span.weights);
  const auto* start_bytes = reinterpret_cast<const unsigned char*>(span.start);
  for (std::size_t c = 0; c < span.channels; c += kBlock, weights += span.steps * kBlock * 4) {
    const Rows<5> rows(span, c, weights);
    Outputs<Epilogue> outputs(span, epilogue, c);
    const Sums start = {load(start_bytes + 4 * c), load(start_bytes + 4 * c + 32)};
    const std::size_t step = span.x_step;
    Sums acc[5];
    __m256i before = start.low;  // any: no output has begun
    slide_column<1>(rows, 0, before, start, acc);
    slide_column<2>(rows, step, before, start, acc);
    slide_column<3>(rows, 2 * step, before, start, acc);
    slide_column<4>(rows, 3 * step, before, start, acc);
    std::size_t offset = 4 * step;
    for (std::size_t i = 0; i < span.pixels; ++i, offset += step) {
      slide_column<5>(rows, offset, before, start, acc);
      outputs.emit(acc[4]);
    }
  }
}

// Outputs two columns apart: an even column is column 2 * m of acc[m]'s output, the odd one after it column
// 2 * m + 1. The last row comes in pairs of an even and an odd column.
template <int Side, class Epilogue>
void slide_by_2(const DepthwiseSpan& span, const Epilogue& epilogue) {
  constexpr int kLive = Side / 2 + 1, kLastRow = Rows<Side>::kLastRow;
  const auto* weights = static_cast<const unsigned char*>(span.weights);
  const auto* start_bytes = reinterpret_cast<const unsigned char*>(span.start);
  for (std::size_t c = 0; c < span.channels; c += kBlock, weights += span.steps * kBlock * 4) {
    const Rows<Side> rows(span, c, weights);
    Outputs<Epilogue> outputs(span, epilogue, c);
    const Sums start = {load(start_bytes + 4 * c), load(start_bytes + 4 * c + 32)};
    // (none, last) becomes (last, none).
    alignas(32) unsigned char last[kBlock * 4];
    for (int half = 0; half < 64; half += 32) {
      _mm256_store_si256(reinterpret_cast<__m256i*>(last + half),
                         _mm256_srli_epi32(load(rows.step(kLastRow + Side / 2) + half), 16));
    }
    Sums acc[kLive];
    _Pragma("GCC unroll 4") for (int m = 0; m < kLive; ++m) acc[m] = start;
    std::size_t offset = 0;
    const std::size_t end = span.pixels + Side / 2;
    for (std::size_t i = 0; i < end; ++i, offset += span.x_step) {
      _Pragma("GCC unroll 4") for (int m = kLive - 1; m > 0; --m) acc[m] = acc[m - 1];
      acc[0] = start;
      // The last output has no odd column to its right, and no weight for it.
      const std::size_t odd = i + 1 < end ? offset + span.column_step : offset;
      const Sums pair = interleave(rows.last_row(offset), rows.last_row(odd));
      _Pragma("GCC unroll 4") for (int m = 0; m + 1 < kLive; ++m) {
        accumulate<Side>(acc[m], pair, rows.step(kLastRow + m));
      }
      accumulate<Side>(acc[kLive - 1], pair, last);
      rows.template add_column<0, 2, kLive>(offset, acc);
      if (i + 1 >= static_cast<std::size_t>(kLive)) outputs.emit(acc[kLive - 1]);
      rows.template add_column<1, 2, kLive - 1>(odd, acc);
    }
  }
}

template <int Side, class Epilogue>
void depthwise_square(const DepthwiseSpan& span, const Epilogue& epilogue) {
  if (span.column_step == span.x_step) {
    if constexpr (Side == 3) {
      slide_3x3(span, epilogue);
    } else {
      slide_5x5(span, epilogue);
    }
  } else if (2 * span.column_step == span.x_step) {
    slide_by_2<Side>(span, epilogue);
  } else {
    depthwise<(Side * Side + 1) / 2>(span, epilogue);
  }
}

template <class Epilogue>
void depthwise_any(const DepthwiseSpan& span, const Epilogue& epilogue) {
  switch (span.inner_side) {
    case 3: depthwise_square<3>(span, epilogue); return;
    case 5: depthwise_square<5>(span, epilogue); return;
    default: break;
  }
  switch (span.steps) {
    case 5: depthwise<5>(span, epilogue); break;    // 3x3
    case 13: depthwise<13>(span, epilogue); break;  // 5x5
    default: depthwise<0>(span, epilogue);
  }
}

}  // namespace

void depthwise_u8s8_requantize_avx2(const DepthwiseSpan& span, const Requantization& p) noexcept {
  depthwise_any(span, RequantizeRows(p));
}

void depthwise_u8s8_real_avx2(const DepthwiseSpan& span) noexcept { depthwise_any(span, RealRows{}); }

}  // namespace qslim
