// SPDX-License-Identifier: Apache-2.0
//
// Detection and choice of instruction sets; isa.h says what the names mean.
#include "qslim/core/isa.h"

#include <cstdlib>

#include "qslim/core/error.h"

namespace qslim {
namespace {

constexpr Isa kAll[] = {Isa::kScalar, Isa::kNeon, Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Vnni};

bool machine_has(Isa isa) noexcept {
  if (isa == Isa::kScalar) return true;
#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
  // __builtin_cpu_supports also asks XGETBV whether the kernel saves the wide registers.
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  [[maybe_unused]] const bool avx512 =
      avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (isa == Isa::kAvx2) return avx2;
#if QSLIM_EMULATE_AVX512
  // Tests only: these kernels are emulated on AVX2.
  if (isa == Isa::kAvx512 || isa == Isa::kAvx512Vnni) return avx2;
#else
  if (isa == Isa::kAvx512) return avx512;
  if (isa == Isa::kAvx512Vnni) return avx512 && __builtin_cpu_supports("avx512vnni");
#endif
#endif
  return false;
}

}  // namespace

const char* name_of(Isa isa) noexcept {
  switch (isa) {
    case Isa::kScalar: return "scalar";
    case Isa::kNeon: return "neon";
    case Isa::kAvx2: return "avx2";
    case Isa::kAvx512: return "avx512";
    case Isa::kAvx512Vnni: return "avx512vnni";
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
