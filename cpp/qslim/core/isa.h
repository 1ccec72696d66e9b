// SPDX-License-Identifier: Apache-2.0
//
// Instruction sets: which kernels this machine can run, and which it shall.
//
// The values are ordered, a higher one implies the lower ones of its architecture:
//   scalar      any machine (on x86-64 the compiler still uses SSE2)
//   neon        place kept for ARM; no kernel yet
//   avx2        AVX2 and FMA
//   avx512      AVX-512 F, BW, DQ, VL
//   avx512vnni  avx512 and VNNI
// QSLIM_ISA=<name> caps the choice of every Context made afterwards; it never raises it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace qslim {

enum class Isa : std::uint8_t { kScalar, kNeon, kAvx2, kAvx512, kAvx512Vnni };

const char* name_of(Isa isa) noexcept;
// Throws InvalidArgument naming the known instruction sets.
Isa isa_from_name(std::string_view name);

// The best this machine has; the environment plays no part.
Isa detected_isa() noexcept;
// True where a kernel written for `isa` runs on this machine.
bool is_supported(Isa isa) noexcept;
std::vector<Isa> available_isas();
// The best this machine has, capped by QSLIM_ISA.
Isa default_isa();

}  // namespace qslim
