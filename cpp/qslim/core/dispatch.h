// SPDX-License-Identifier: Apache-2.0
//
// The choice of a kernel. A family's table.h holds a row for each line of its kernels.inc, best first and
// ending with the scalar one; drivers, tests and benchmarks go through the rows.
#pragma once

#include <cstddef>

#include "qslim/core/isa.h"

namespace qslim {

// Return the first row that `allowed` and this machine allow.
template <class Kernel, std::size_t Size>
const Kernel& best_kernel(const Kernel (&kernels)[Size], Isa allowed) {
  for (const Kernel& kernel : kernels) {
    if (kernel.isa <= allowed && is_supported(kernel.isa)) return kernel;
  }
  return kernels[Size - 1];
}

}  // namespace qslim
