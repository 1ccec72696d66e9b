// SPDX-License-Identifier: Apache-2.0
//
// Instruction sets: those whose kernels this machine can run, and the one that a call uses.
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
// Throw InvalidArgument, which names the known instruction sets, for another name.
Isa isa_from_name(std::string_view name);

// Return the best one of this machine, whatever the environment says.
Isa detected_isa() noexcept;
// Return true if a kernel written for `isa` runs on this machine.
bool is_supported(Isa isa) noexcept;
std::vector<Isa> available_isas();
// Return the best one of this machine that QSLIM_ISA allows.
Isa default_isa();

}  // namespace qslim
