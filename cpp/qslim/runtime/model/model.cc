// SPDX-License-Identifier: Apache-2.0
#include "qslim/runtime/model/model.h"

#include <functional>
#include <numeric>

namespace qslim::runtime {

std::vector<std::int8_t> signed_integers(const Tensor& tensor) {
  const Dims& dims = *tensor.shape;
  const auto count = static_cast<std::size_t>(
      std::accumulate(dims.begin(), dims.end(), std::int64_t{1}, std::multiplies<>()));
  const auto* stored = reinterpret_cast<const std::int8_t*>(tensor.data);
  if (!tensor.is_packed) return std::vector<std::int8_t>(stored, stored + count);
  std::vector<std::int8_t> integers(count);
  const std::size_t width = static_cast<std::size_t>(dims.back()), row_bytes = (width + 1) / 2;
  for (std::size_t i = 0; i < count; ++i) {
    const int both = static_cast<std::uint8_t>(stored[i / width * row_bytes + i % width / 2]);
    integers[i] = static_cast<std::int8_t>((((i % width % 2 == 0 ? both : both >> 4) & 15) ^ 8) - 8);
  }
  return integers;
}

}  // namespace qslim::runtime
