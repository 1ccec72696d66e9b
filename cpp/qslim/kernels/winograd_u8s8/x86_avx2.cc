// SPDX-License-Identifier: Apache-2.0
//
// Winograd convolution on AVX2. Contract: kernels.h.
#include <immintrin.h>

#include "qslim/kernels/conv_blocks/epilogue_avx2.h"
#include "qslim/kernels/conv_blocks/operands_avx2.h"
#include "qslim/kernels/conv_blocks/tile.h"
#include "qslim/kernels/winograd_u8s8/kernels.h"

namespace qslim {
namespace {

// 16 channels of one tile. Rows of B^T but one add up to 0, so the zero point cancels in all but one element.
QSLIM_INLINE void transform(const std::uint8_t* const* pixels, std::size_t channel, __m256i four_zero_points,
                            unsigned char* v, std::size_t element_stride) {
  __m256i t[4][4];  // B^T x
  QSLIM_UNROLL for (int c = 0; c < 4; ++c) {
    __m256i x[4];
    QSLIM_UNROLL for (int r = 0; r < 4; ++r) {
      x[r] = _mm256_cvtepu8_epi16(
          _mm_loadu_si128(reinterpret_cast<const __m128i*>(pixels[4 * r + c] + channel)));
    }
    t[0][c] = _mm256_sub_epi16(x[0], x[2]);
    t[1][c] = _mm256_add_epi16(x[1], x[2]);
    t[2][c] = _mm256_sub_epi16(x[2], x[1]);
    t[3][c] = _mm256_sub_epi16(x[1], x[3]);
  }
  QSLIM_UNROLL for (int r = 0; r < 4; ++r) {
    __m256i row[4];
    row[0] = _mm256_sub_epi16(t[r][0], t[r][2]);
    row[1] = _mm256_add_epi16(t[r][1], t[r][2]);
    row[2] = _mm256_sub_epi16(t[r][2], t[r][1]);
    row[3] = _mm256_sub_epi16(t[r][1], t[r][3]);
    if (r == 1) row[1] = _mm256_sub_epi16(row[1], four_zero_points);
    QSLIM_UNROLL for (int c = 0; c < 4; ++c) {
      _mm256_store_si256(reinterpret_cast<__m256i*>(v + static_cast<std::size_t>(4 * r + c) * element_stride),
                         row[c]);
    }
  }
}

// Tiles end in their sums.
struct SumRows {
  static constexpr std::size_t kOutputBytes = 4;

  template <int MR, int NV>
  QSLIM_INLINE void store(const __m256i (&acc)[MR][NV], std::size_t, const float*, const float*,
                          OutputRows y) const {
    QSLIM_UNROLL for (int i = 0; i < MR; ++i) {
      QSLIM_UNROLL for (int j = 0; j < NV; ++j) {
        _mm256_store_si256(reinterpret_cast<__m256i*>(y[i]) + j, acc[i][j]);
      }
    }
  }
};

// A^T s A / 4 of 8 columns; s has the elements `pitch` vectors apart.
QSLIM_INLINE void outputs(const __m256i* s, int pitch, __m256i (&y)[4]) {
  __m256i t[2][4];  // A^T s
  QSLIM_UNROLL for (int c = 0; c < 4; ++c) {
    const __m256i s1 = s[(4 + c) * pitch], s2 = s[(8 + c) * pitch];
    t[0][c] = _mm256_add_epi32(_mm256_add_epi32(s[c * pitch], s1), s2);
    t[1][c] = _mm256_sub_epi32(_mm256_sub_epi32(s1, s2), s[(12 + c) * pitch]);
  }
  QSLIM_UNROLL for (int r = 0; r < 2; ++r) {
    const __m256i left = _mm256_add_epi32(_mm256_add_epi32(t[r][0], t[r][1]), t[r][2]);
    const __m256i right = _mm256_sub_epi32(_mm256_sub_epi32(t[r][1], t[r][2]), t[r][3]);
    y[2 * r] = _mm256_srai_epi32(left, 2);
    y[2 * r + 1] = _mm256_srai_epi32(right, 2);
  }
}

constexpr std::size_t kLanes = Int16PairOps::kVectorBytes / 4, kPanel = kLanes * Int16PairOps::kMaxVectors;
constexpr std::size_t kTileBytes = kWinogradElements * kPanel * 4;

template <int NV, class Epilogue>
void multiply_winograd_panel(const WinogradBlock& block, std::size_t columns, std::size_t y_offset,
                             const Epilogue& epilogue) {
  alignas(64) static constexpr std::int32_t kZeros[kPanel] = {};
  auto* const sums = reinterpret_cast<unsigned char*>(block.sums);
  GemmBlock gemm;
  gemm.steps = block.steps, gemm.columns = columns, gemm.a_stride = block.row_stride, gemm.start = kZeros;
  gemm.multiplier = block.multiplier, gemm.bias = block.bias;
  for (std::size_t element = 0; element < kWinogradElements; ++element) {
    const auto* a = static_cast<const unsigned char*>(block.v) + element * block.element_stride;
    const auto* b =
        static_cast<const unsigned char*>(block.u) + element * block.steps * NV * Int16PairOps::kVectorBytes;
    gemm.rows = block.tiles, gemm.a = a, gemm.b = b, gemm.y = {sums, kTileBytes};
    multiply_panel<Int16PairOps, SumRows, NV>(gemm, columns, element * kPanel * 4, SumRows{});
  }
  for (std::size_t tile = 0; tile < block.tiles; ++tile) {
    const auto* s = reinterpret_cast<const __m256i*>(sums + tile * kTileBytes);
    __m256i acc[4][NV];
    QSLIM_UNROLL for (int j = 0; j < NV; ++j) {
      __m256i y[4];
      outputs(s + j, Int16PairOps::kMaxVectors, y);
      QSLIM_UNROLL for (int i = 0; i < 4; ++i) acc[i][j] = y[i];
    }
    unsigned char* y[4];
    for (int i = 0; i < 4; ++i) y[i] = block.y[4 * tile + static_cast<std::size_t>(i)] + y_offset;
    epilogue.template store<4, NV>(acc, columns, block.multiplier, block.bias, y);
  }
}

template <class Epilogue>
void multiply_winograd(WinogradBlock block, const Epilogue& epilogue) {
  const std::size_t all = block.columns;
  for (std::size_t column = 0; column < all;) {
    const std::size_t vectors = panel_vectors(all - column, kLanes, Int16PairOps::kMaxVectors);
    const std::size_t width = vectors * kLanes;
    const std::size_t columns = all - column < width ? all - column : width;
    const std::size_t offset = column * Epilogue::kOutputBytes;
    vectors == 1 ? multiply_winograd_panel<1>(block, columns, offset, epilogue)
                 : multiply_winograd_panel<2>(block, columns, offset, epilogue);
    block.u = static_cast<const unsigned char*>(block.u) + kWinogradElements * block.steps * width * 4;
    block.multiplier += width, block.bias += width;
    column += width;
  }
}

}  // namespace

void winograd_u8s8_transform_avx2(const WinogradPatches& p) noexcept {
  const __m256i four_zero_points = _mm256_set1_epi16(static_cast<short>(4 * p.zero_point));
  for (std::size_t tile = 0; tile < p.tiles; ++tile) {
    auto* v = static_cast<unsigned char*>(p.v) + tile * p.row_stride;
    for (std::size_t c = 0; c < p.channels; c += 16, v += 32) {
      transform(p.pixels + kWinogradElements * tile, c, four_zero_points, v, p.element_stride);
    }
  }
}

void winograd_u8s8_requantize_avx2(const WinogradBlock& block, const Requantization& p) noexcept {
  multiply_winograd(block, RequantizeRows(p));
}

void winograd_u8s8_real_avx2(const WinogradBlock& block) noexcept { multiply_winograd(block, RealRows{}); }

}  // namespace qslim
