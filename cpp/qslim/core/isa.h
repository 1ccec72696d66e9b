// SPDX-License-Identifier: Apache-2.0
//
// Instruction sets: those whose kernels this machine can run, and the one that a call uses.
//
// Instruction sets of this machine, in rising order (isa.inc):
//   scalar      any machine (on x86-64 the compiler still uses SSE2, on ARM64 NEON)
//   neon        ARM64: Armv8.0, which every one of them has
//   dotprod     neon and sdot (Armv8.2's option, in every core since Cortex-A55 and A76)
//   i8mm        dotprod and the products of unsigned by signed bytes (Armv8.6)
//   avx2        AVX2 and FMA
//   avxvnni     avx2 and VNNI of 256 bits without AVX-512; no avx512 machine needs to have it
//   avx512      AVX-512 F, BW, DQ, VL
//   avx512vnni  avx512 and VNNI
// QSLIM_ISA=<name> caps the choice of every Context made afterwards; it never raises it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "qslim/core/target.h"

namespace qslim {

enum class Isa : std::uint8_t {
#define QSLIM_ISA(enumerator, name, runs) enumerator,
#include "qslim/core/isa.inc"
#undef QSLIM_ISA
};

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
