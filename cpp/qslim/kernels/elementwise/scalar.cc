// SPDX-License-Identifier: Apache-2.0
//
// Elementwise kernels for any machine. Contract: kernels.h.
#define QSLIM_SUFFIX scalar
#include "qslim/kernels/elementwise/loops.inc"

namespace qslim {

void table_u8_scalar(std::size_t n, const std::uint8_t* x, const std::uint8_t* table,
                     std::uint8_t* y) noexcept {
  for (std::size_t i = 0; i < n; ++i) y[i] = table[x[i]];
}

}  // namespace qslim
