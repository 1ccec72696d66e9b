// SPDX-License-Identifier: Apache-2.0
//
// One multiplication an element, at the speed of memory: plain loops do.
#include "qslim/kernels/weight_only/quantized_rows.h"

#include <algorithm>

namespace qslim {
namespace {

constexpr std::size_t kElementsPerTask = 32 << 10;

// The integer in the half of a byte that begins at bit `shift`: two's complement of 4 bits.
int half_of(std::uint8_t both, int shift) { return ((both >> shift & 15) ^ 8) - 8; }

// Elements [first, first + count) of a row, which have one scale.
void dequantize_part(const QuantizedRows& table, const std::uint8_t* row, std::size_t first,
                     std::size_t count, float scale, float* y) {
  if (!table.is_narrow) {
    const auto* q = reinterpret_cast<const std::int8_t*>(row) + first;
    for (std::size_t i = 0; i < count; ++i) y[i] = static_cast<float>(q[i]) * scale;
    return;
  }
  for (std::size_t i = first; i < first + count; ++i) {
    *y++ = static_cast<float>(half_of(row[i / 2], i % 2 == 0 ? 0 : 4)) * scale;
  }
}

}  // namespace

void gather_dequantized(Context& context, const QuantizedRows& table, Span<const std::int64_t> indices,
                        float* y) {
  const auto rows = static_cast<std::int64_t>(table.rows);
  for (const std::int64_t index : indices) {
    QSLIM_REQUIRE(index >= -rows && index < rows, "gather: indices must lie in [", -rows, ", ", rows,
                  "), got ", index);
  }
  const std::size_t row_bytes = table.is_narrow ? (table.width + 1) / 2 : table.width;
  const std::size_t group = table.group_size == 0 ? std::max<std::size_t>(table.width, 1) : table.group_size;
  const std::size_t block =
      std::max<std::size_t>(kElementsPerTask / std::max<std::size_t>(table.width, 1), 1);
  context.pool().for_each_block(indices.size(), block, [&](Block part) {
    for (std::size_t i = part.begin; i < part.begin + part.size; ++i) {
      const auto at = static_cast<std::size_t>(indices[i] < 0 ? indices[i] + rows : indices[i]);
      const float* scale = table.scale + at * table.scale_stride;
      float* const to = y + i * table.width;
      for (std::size_t first = 0; first < table.width; first += group, ++scale) {
        dequantize_part(table, table.integers + at * row_bytes, first, std::min(group, table.width - first),
                        *scale, to + first);
      }
    }
  });
}

}  // namespace qslim
