// SPDX-License-Identifier: Apache-2.0
//
// Quantization parameters: the affine map between integers and real numbers.
//
//   q = clamp(round(x * (1 / scale)) + zero_point, qmin, qmax)      x ~= scale * (q - zero_point)
//
// scale      real value of one integer step.
// threshold  largest magnitude kept; scale = threshold / qmax where the integers are symmetric or start at 0.
// integers   signed, b bits:   [-(2^(b-1) - 1), 2^(b-1) - 1], zero point 0
//            unsigned, b bits: [0, 2^b - 1], zero point 0
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "qslim/core/error.h"

namespace qslim {

// 1 / scale must be finite, and both must keep their 24 bits: subnormals on either side would not.
inline constexpr float kMinScale = 0x1p-126f;
inline constexpr float kMaxScale = 0x1p+126f;
// Integers up to here are exact in float, with room for the rounding tricks of the vector kernels.
inline constexpr std::int32_t kMaxGrid = 1 << 17;
// Threshold of a tensor of zeros: any small positive number gives zeros back; this one keeps 1/scale finite
// at every width. PaddleSlim uses the same 1e-8.
inline constexpr float kThresholdFloor = 1e-8f;

// The integers that represent a tensor.
struct Grid {
  std::int32_t qmin;
  std::int32_t qmax;
};

struct QParams {
  float scale;
  std::int32_t zero_point;
  std::int32_t qmin;
  std::int32_t qmax;
};

inline Grid grid_of(int quant_bits, bool is_unsigned) {
  QSLIM_REQUIRE(quant_bits >= 2 && quant_bits <= 16, "quant_bits must be in [2, 16], got ", quant_bits);
  if (is_unsigned) return Grid{0, (1 << quant_bits) - 1};
  const std::int32_t qmax = (1 << (quant_bits - 1)) - 1;
  return Grid{-qmax, qmax};
}

}  // namespace qslim
