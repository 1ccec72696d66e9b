// SPDX-License-Identifier: Apache-2.0
//
// The loops of every matrix kernel, without its instructions: Ops brings those. All names are internal to the
// including file, as each is compiled for another instruction set.
//
// Ops has
//   Vector, Broadcast      an accumulator; one group of A in every lane
//   kVectorBytes           of B
//   load(b), broadcast(a), multiply_add(acc, a, b)
//   start(start, j)        the first value of accumulator j; of floats it is +0
//   kFourSteps             true: load_four(a) loads four groups of a row of A, and multiply_add_at<i>(acc, a, b)
//                          multiplies with the i-th of them
//   kFetchesAhead          whether steps leave room for the instructions that fetch the next panel
//   rows_for(vectors)      rows of a tile so that accumulators and operands fit the registers
// Epilogue has store(acc, columns, multiplier, bias, y): a tile's rows, once they are summed.
#pragma once

#include "qslim/kernels/conv_blocks/gemm_block.h"
#include "qslim/kernels/conv_blocks/unroll.h"

namespace qslim {
namespace {

// A group of A as an operand in memory: of any type, at any address.
using Group = std::int32_t __attribute__((aligned(1), may_alias));

template <class Ops, int MR, int NV>
struct Tile {
  typename Ops::Vector acc[MR][NV];

  // Not unrolled over k: that costs registers, and sums then live on the stack.
  QSLIM_INLINE void multiply(const unsigned char* a, std::size_t a_stride, const unsigned char* b,
                             std::size_t steps, const unsigned char* next, std::size_t next_step) {
    // Rows in threes: base, base + stride, base + 2 * stride need one register per three rows.
    constexpr int kBases = (MR + 2) / 3;
    const unsigned char* base[kBases];
    QSLIM_UNROLL for (int g = 0; g < kBases; ++g) base[g] = a + static_cast<std::size_t>(3 * g) * a_stride;
    if constexpr (Ops::kFourSteps) {
      static_assert(!Ops::kFetchesAhead, "the loop over four steps fetches nothing");
      for (; steps >= 4; steps -= 4) advance_four(base, a_stride, b);
    }
    if (Ops::kFetchesAhead && next != nullptr) {
      for (std::size_t k = 0; k < steps; ++k, next += next_step) {
        __builtin_prefetch(next, 0, 2);
        advance(base, a_stride, b);
      }
    } else {
      for (std::size_t k = 0; k < steps; ++k) advance(base, a_stride, b);
    }
  }

 private:
  // Row i of those that the bases stand for.
  QSLIM_INLINE static const unsigned char* row_at(const unsigned char* const* base, std::size_t a_stride,
                                                  int i) {
    const unsigned char* row = base[i / 3];
    if (i % 3 == 1) row += a_stride;
    if (i % 3 == 2) row += 2 * a_stride;
    return row;
  }
  QSLIM_INLINE void advance_four(const unsigned char** base, std::size_t a_stride, const unsigned char*& b) {
    typename Ops::Operand rows[MR];
    QSLIM_UNROLL for (int i = 0; i < MR; ++i) rows[i] = Ops::load_four(row_at(base, a_stride, i));
    multiply_four<0>(rows, b);
    multiply_four<1>(rows, b);
    multiply_four<2>(rows, b);
    multiply_four<3>(rows, b);
    QSLIM_UNROLL for (int g = 0; g < (MR + 2) / 3; ++g) base[g] += 16;
  }
  // One vector of B at a time: those of A take the registers.
  template <int I>
  QSLIM_INLINE void multiply_four(const typename Ops::Operand (&rows)[MR], const unsigned char*& b) {
    QSLIM_UNROLL for (int j = 0; j < NV; ++j, b += Ops::kVectorBytes) {
      const typename Ops::Operand vector = Ops::load(b);
      QSLIM_UNROLL for (int i = 0; i < MR; ++i) {
        Ops::template multiply_add_at<I>(acc[i][j], rows[i], vector);
      }
    }
  }
  QSLIM_INLINE void advance(const unsigned char** base, std::size_t a_stride, const unsigned char*& b) {
    step(base, a_stride, b);
    QSLIM_UNROLL for (int g = 0; g < (MR + 2) / 3; ++g) base[g] += 4;
    b += NV * Ops::kVectorBytes;
  }
  QSLIM_INLINE void step(const unsigned char* const* base, std::size_t a_stride, const unsigned char* b) {
    typename Ops::Operand vectors[NV];
    QSLIM_UNROLL for (int j = 0; j < NV; ++j) vectors[j] = Ops::load(b + j * Ops::kVectorBytes);
    QSLIM_UNROLL for (int i = 0; i < MR; ++i) {
      const typename Ops::Operand x = Ops::broadcast(row_at(base, a_stride, i));
      QSLIM_UNROLL for (int j = 0; j < NV; ++j) Ops::multiply_add(acc[i][j], x, vectors[j]);
    }
  }
};

// Not inlined: tiles of several heights in one function would compete for registers.
template <class Ops, class Epilogue, int MR, int NV>
__attribute__((noinline)) void multiply_tile(const GemmBlock& block, const unsigned char* a,
                                             std::size_t columns, OutputRows y, const Epilogue& epilogue,
                                             const unsigned char* next, std::size_t next_step) {
  Tile<Ops, MR, NV> tile;
  QSLIM_UNROLL for (int j = 0; j < NV; ++j) {
    const typename Ops::Vector first = Ops::start(block.start, j);
    QSLIM_UNROLL for (int i = 0; i < MR; ++i) tile.acc[i][j] = first;
  }
  tile.multiply(a, block.a_stride, static_cast<const unsigned char*>(block.b), block.steps, next, next_step);
  // A copy, whose constants stay in registers: a store through y cannot change them.
  const Epilogue constants = epilogue;
  constants.template store<MR, NV>(tile.acc, columns, block.multiplier, block.bias, y);
}

template <class Ops, class Epilogue, int MR, int NV>
void multiply_tile_of(std::size_t rows, const GemmBlock& block, const unsigned char* a, std::size_t columns,
                      OutputRows y, const Epilogue& epilogue, const unsigned char* next,
                      std::size_t next_step) {
  if constexpr (MR > 1) {
    if (rows < static_cast<std::size_t>(MR)) {
      multiply_tile_of<Ops, Epilogue, MR - 1, NV>(rows, block, a, columns, y, epilogue, next, next_step);
      return;
    }
  }
  multiply_tile<Ops, Epilogue, MR, NV>(block, a, columns, y, epilogue, next, next_step);
}

// One panel, the rows cut into tiles of nearly equal height: a tile of 1 row would cost as much time per
// column as one of 4.
template <class Ops, class Epilogue, int NV>
void multiply_panel(const GemmBlock& block, std::size_t columns, std::size_t y_offset,
                    const Epilogue& epilogue) {
  constexpr int kRows = Ops::rows_for(NV);
  const std::size_t tiles = (block.rows + kRows - 1) / kRows;
  const std::size_t height = block.rows / tiles, taller = block.rows % tiles;
  // If B leaves no room in the second-level cache, the tiles together fetch the panel after this one, a
  // little with each step: what a panel's first tile finds in memory only, it would wait for.
  constexpr std::size_t kStepBytes = NV * Ops::kVectorBytes, kRoom = 256 * 1024;
  const std::size_t next_step = (kStepBytes + tiles - 1) / tiles;
  const unsigned char* next = nullptr;
  if (block.columns > y_offset / Epilogue::kOutputBytes + columns &&
      block.columns * block.steps * 4 > kRoom) {
    next = static_cast<const unsigned char*>(block.b) + block.steps * kStepBytes;
  }
  std::size_t row = 0;
  for (std::size_t tile = 0; tile < tiles; ++tile) {
    const std::size_t rows = height + (tile < taller ? 1 : 0);
    multiply_tile_of<Ops, Epilogue, kRows, NV>(
        rows, block, static_cast<const unsigned char*>(block.a) + row * block.a_stride, columns,
        block.y.from(row, y_offset), epilogue, next, next_step);
    row += rows;
    if (next != nullptr) next += block.steps * next_step;
  }
}

template <class Ops, class Epilogue>
void multiply_block(GemmBlock block, const Epilogue& epilogue) {
  constexpr std::size_t kLanes = Ops::kVectorBytes / 4, kMaxVectors = Ops::kMaxVectors;
  const std::size_t all = block.columns;
  if (block.rows == 0) return;
  for (std::size_t column = 0; column < all;) {
    const std::size_t vectors = panel_vectors(all - column, kLanes, kMaxVectors);
    const std::size_t width = vectors * kLanes;
    const std::size_t columns = all - column < width ? all - column : width;
    const std::size_t offset = column * Epilogue::kOutputBytes;
    switch (vectors) {
      case 1: multiply_panel<Ops, Epilogue, 1>(block, columns, offset, epilogue); break;
      case 2: multiply_panel<Ops, Epilogue, 2>(block, columns, offset, epilogue); break;
      default:
        if constexpr (kMaxVectors > 2) {
          vectors == 3 ? multiply_panel<Ops, Epilogue, 3>(block, columns, offset, epilogue)
                       : multiply_panel<Ops, Epilogue, 4>(block, columns, offset, epilogue);
        }
    }
    block.b = static_cast<const unsigned char*>(block.b) + width * 4 * block.steps;
    if (block.start != nullptr) block.start += width, block.multiplier += width;
    block.bias += width;
    column += width;
  }
}

}  // namespace
}  // namespace qslim
