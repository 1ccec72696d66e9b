// SPDX-License-Identifier: Apache-2.0
//
// Detection and choice of instruction sets; isa.h says what the names mean.
#include "qslim/core/isa.h"

#include <cstdlib>

#include "qslim/core/cpu_features.h"
#include "qslim/core/error.h"

namespace qslim {
namespace {

constexpr Isa kAll[] = {
#define QSLIM_ISA(enumerator, name, runs) Isa::enumerator,
#include "qslim/core/isa.inc"
#undef QSLIM_ISA
};

#if QSLIM_BUILD_X86
// __builtin_cpu_supports also asks XGETBV whether the kernel saves the wide registers.
#define QSLIM_CPU_HAS(feature) (__builtin_cpu_supports(feature) != 0)
#else
#define QSLIM_CPU_HAS(feature) false
#endif
#if QSLIM_BUILD_ARM64
#define QSLIM_ARM_HAS(feature) (arm_features().feature)
#else
#define QSLIM_ARM_HAS(feature) false
#endif

bool machine_has(Isa isa) noexcept {
#if QSLIM_BUILD_X86
  __builtin_cpu_init();
#endif
  switch (isa) {
#define QSLIM_ISA(enumerator, name, runs) \
  case Isa::enumerator: return runs;
#include "qslim/core/isa.inc"
#undef QSLIM_ISA
  }
  return false;
}

}  // namespace

const char* name_of(Isa isa) noexcept {
  switch (isa) {
#define QSLIM_ISA(enumerator, name, runs) \
  case Isa::enumerator: return name;
#include "qslim/core/isa.inc"
#undef QSLIM_ISA
  }
  return "?";
}

Isa isa_from_name(std::string_view name) {
  std::string known;
  for (const Isa isa : kAll) {
    if (name == name_of(isa)) return isa;
    if (!machine_has(isa)) continue;
    known += known.empty() ? "" : ", ";
    known += name_of(isa);
  }
  throw InvalidArgument(concatenate("isa must be one of ", known, " on this machine, got '", name, "'"));
}

bool is_supported(Isa isa) noexcept { return machine_has(isa); }

Isa detected_isa() noexcept {
  Isa best = Isa::kScalar;
  for (const Isa isa : kAll) {
    if (machine_has(isa)) best = isa;
  }
  return best;
}

std::vector<Isa> available_isas() {
  std::vector<Isa> available;
  for (const Isa isa : kAll) {
    if (machine_has(isa)) available.push_back(isa);
  }
  return available;
}

Isa default_isa() {
  const char* cap_name = std::getenv("QSLIM_ISA");
  if (cap_name == nullptr || *cap_name == '\0') return detected_isa();
  Isa cap = Isa::kScalar;
  try {
    cap = isa_from_name(cap_name);
  } catch (const InvalidArgument& error) {
    throw InvalidArgument(concatenate("environment variable QSLIM_ISA: ", error.what()));
  }
  Isa best = Isa::kScalar;
  for (const Isa isa : kAll) {
    if (isa <= cap && machine_has(isa)) best = isa;
  }
  return best;
}

}  // namespace qslim
