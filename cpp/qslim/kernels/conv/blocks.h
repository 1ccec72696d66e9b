// SPDX-License-Identifier: Apache-2.0
//
// Sizes of blocks, and how many tasks to cut a convolution into.
#pragma once

#include <cstddef>

namespace qslim {

constexpr std::size_t divide_up(std::size_t a, std::size_t b) { return (a + b - 1) / b; }
constexpr std::size_t round_up(std::size_t a, std::size_t b) { return divide_up(a, b) * b; }

// More tasks than threads even out what else the machine is doing.
constexpr std::size_t tasks_for(std::size_t num_threads) { return num_threads == 1 ? 1 : 4 * num_threads; }

}  // namespace qslim
