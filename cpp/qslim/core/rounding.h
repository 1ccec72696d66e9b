// SPDX-License-Identifier: Apache-2.0
//
// The two ways of rounding x / scale to an integer.
//
//   kTiesToEven  2.5 -> 2, 3.5 -> 4   ours everywhere: what cvtps2dq, ONNX and Paddle's exported graphs do
//   kTiesAway    2.5 -> 3, -2.5 -> -3 Paddle's training kernels (round_type 1), for parity with them
//
// Ties away in vector form is trunc(v + copysign(0x1.fffffep-2, v)). The constant is the largest float below
// 0.5: with 0.5 itself, v = 0.49999997 would sum to 1 and round up. Exact for every |v| < 2^23.
#pragma once

#include <cstdint>

namespace qslim {

enum class Rounding : std::uint8_t { kTiesToEven, kTiesAway };

inline constexpr float kBelowHalf = 0x1.fffffep-2f;

}  // namespace qslim
