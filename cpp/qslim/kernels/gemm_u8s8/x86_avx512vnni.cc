// SPDX-License-Identifier: Apache-2.0
//
// Int8 matrix products on AVX-512 VNNI: vpdpbusd sums four products of unsigned and signed bytes, exactly.
// A is the bytes themselves, so a 1x1 convolution reads x in place. Contract: kernels.h.
#include "qslim/kernels/conv_blocks/epilogue_avx512.h"
#include "qslim/kernels/conv_blocks/gather.h"
#include "qslim/kernels/conv_blocks/operands_avx512.h"
#include "qslim/kernels/conv_blocks/tile.h"
#include "qslim/kernels/gemm_u8s8/kernels.h"
#include "qslim/kernels/x86_avx512.h"

namespace qslim {
namespace {

struct VnniOps : Avx512Operands<IntegerLanes> {
  QSLIM_INLINE static void multiply_add(Vector& acc, Operand a, Operand b) {
#if QSLIM_EMULATE_AVX512
    acc = _mm512_dpbusd_epi32(acc, a, b);
#else
    asm volatile("vpdpbusd %[b], %[a], %[acc]" : [acc] "+v"(acc) : [a] "v"(a), [b] "v"(b));
#endif
  }
  static Vector start(const std::int32_t* start, int j) {
    return load(reinterpret_cast<const unsigned char*>(start) + j * static_cast<int>(kVectorBytes));
  }
};

struct CopyU8 {
  using X = std::uint8_t;
  using A = std::uint8_t;
  static void copy(const X* x, std::size_t n, int, A* a) {
    for (std::size_t i = 0; i < n; i += 64) _mm512_storeu_si512(a + i, _mm512_loadu_si512(x + i));
  }
  static void fill(std::size_t n, int zero, A* a) {
    const __m512i z = _mm512_set1_epi8(static_cast<char>(zero));
    for (std::size_t i = 0; i < n; i += 64) _mm512_storeu_si512(a + i, z);
  }
};

// The image rows that a row of outputs sees, from their first column on. Those outside the image have a step
// of 0.
struct ImageColumns {
  const unsigned char* row[PatchBlock::kMostColumnRows];
  std::size_t step[PatchBlock::kMostColumnRows];
};

// Pixels that do not follow each other, or what the tables do not know: byte by byte.
void copy_columns(const PatchBlock& p, const ImageColumns& image, std::size_t columns, unsigned char* a) {
  for (std::size_t column = 0; column < columns; ++column) {
    for (std::size_t kh = 0; kh < p.kernel_h; ++kh) {
      const unsigned char* from = image.row[kh] + column * image.step[kh];
      for (std::size_t c = 0; c < p.channels; ++c) *a++ = from[c];
    }
  }
}

// Each row's next 16 bytes, in all four parts of a vector, are shuffled to their places.
template <int kRows>
void shuffle_columns(const PatchBlock& p, const ImageColumns& image, std::size_t columns, unsigned char* a) {
  __m512i places[kRows];
  QSLIM_UNROLL for (int kh = 0; kh < kRows; ++kh) places[kh] = _mm512_loadu_si512(p.column_bytes + 64 * kh);
  const std::size_t at_once = column_pixels(kRows, p.channels), bytes = at_once * kRows * p.channels;
  for (std::size_t column = 0; column < columns; column += at_once, a += bytes) {
    __m512i v = _mm512_setzero_si512();
    QSLIM_UNROLL for (int kh = 0; kh < kRows; ++kh) {
      const auto* from = reinterpret_cast<const __m128i*>(image.row[kh] + column * image.step[kh]);
      const __m512i row = _mm512_broadcast_i32x4(_mm_loadu_si128(from));
      v = _mm512_or_si512(v, _mm512_shuffle_epi8(row, places[kh]));
    }
    _mm512_storeu_si512(a, v);
  }
}

}  // namespace

void gather_columns_u8_avx512vnni(const PatchBlock& p) noexcept {
  const std::size_t image = p.out_h * p.out_w, n = p.first_pixel / image;
  const std::size_t oh = p.first_pixel % image / p.out_w, ow = p.first_pixel % p.out_w;
  const auto in_h = static_cast<std::ptrdiff_t>(p.in_h), in_w = static_cast<std::ptrdiff_t>(p.in_w);
  // Columns of the image, from that of the first patch's first tap to that of the last one's last.
  const auto first = static_cast<std::ptrdiff_t>(ow * p.stride_w) - p.pad_left;
  const auto end = first + static_cast<std::ptrdiff_t>((p.pixels - 1) * p.stride_w + p.kernel_w);
  const std::ptrdiff_t begin_inside = first >= 0 ? first : end < 0 ? end : 0;
  const std::ptrdiff_t most = end < in_w ? end : in_w;
  const std::ptrdiff_t end_inside = most < begin_inside ? begin_inside : most;

  alignas(64) unsigned char outside[64];
  CopyU8::fill(sizeof outside, p.zero_point, outside);
  ImageColumns columns;
  for (std::size_t kh = 0; kh < p.kernel_h; ++kh) {
    const auto ih = static_cast<std::ptrdiff_t>(oh * p.stride_h + kh * p.dilation_h) - p.pad_top;
    const bool exists = ih >= 0 && ih < in_h && begin_inside < end_inside;
    const auto pixel = static_cast<std::ptrdiff_t>(n) * in_h * in_w + ih * in_w + begin_inside;
    columns.row[kh] =
        exists ? static_cast<const unsigned char*>(p.x) + static_cast<std::size_t>(pixel) * p.pixel_stride
               : outside;
    columns.step[kh] = exists ? p.pixel_stride : 0;
  }

  const std::size_t column_bytes = p.kernel_h * p.channels;
  const auto bytes_of = [&](std::ptrdiff_t from, std::ptrdiff_t to) {
    return to > from ? static_cast<std::size_t>(to - from) * column_bytes : 0;
  };
  auto* a = static_cast<unsigned char*>(p.a);
  const std::size_t left = bytes_of(first, begin_inside);
  CopyU8::fill(left, p.zero_point, a);
  const auto inside = static_cast<std::size_t>(end_inside - begin_inside);
  const bool is_dense = p.pixel_stride == p.channels;
  switch (is_dense ? p.kernel_h : 0) {
    case 1: shuffle_columns<1>(p, columns, inside, a + left); break;
    case 2: shuffle_columns<2>(p, columns, inside, a + left); break;
    case 3: shuffle_columns<3>(p, columns, inside, a + left); break;
    case 4: shuffle_columns<4>(p, columns, inside, a + left); break;
    case 5: shuffle_columns<5>(p, columns, inside, a + left); break;
    case 6: shuffle_columns<6>(p, columns, inside, a + left); break;
    case 7: shuffle_columns<7>(p, columns, inside, a + left); break;
    default: copy_columns(p, columns, inside, a + left);
  }
  CopyU8::fill(bytes_of(end_inside, end), p.zero_point, a + left + inside * column_bytes);
}

void gather_u8_avx512vnni(const PatchBlock& patches) noexcept { gather_patches<CopyU8>(patches); }

void gemm_u8s8_requantize_avx512vnni(const GemmBlock& block, const Requantization& p) noexcept {
  with_requantize_rows(p, [&](const auto& epilogue) { multiply_block<VnniOps>(block, epilogue); });
}

void gemm_u8s8_requantize_sum_avx512vnni(const GemmBlock& block, const Requantization& p) noexcept {
  with_requantize_rows<BeforeRounding::kSum>(
      p, [&](const auto& epilogue) { multiply_block<VnniOps>(block, epilogue); });
}

void gemm_u8s8_requantize_hard_swish_avx512vnni(const GemmBlock& block, const Requantization& p) noexcept {
  with_requantize_rows<BeforeRounding::kHardSwish>(
      p, [&](const auto& epilogue) { multiply_block<VnniOps>(block, epilogue); });
}

void gemm_u8s8_real_avx512vnni(const GemmBlock& block) noexcept {
  multiply_block<VnniOps>(block, RealRows{});
}

}  // namespace qslim
