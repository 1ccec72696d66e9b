// SPDX-License-Identifier: Apache-2.0
//
// Detection of optional ARM64 instructions: auxiliary vector on Linux and Android, sysctl on Apple's systems,
// IsProcessorFeaturePresent on Windows.
#include "qslim/core/cpu_features.h"

#if QSLIM_BUILD_ARM64
#if defined(__linux__)
#include <sys/auxv.h>
#elif defined(__APPLE__)
#include <sys/sysctl.h>

#include <cstddef>
#elif defined(_WIN32)
#include <windows.h>
#endif

namespace qslim {
namespace {

#if defined(__APPLE__)
bool has(const char* name) noexcept {
  int value = 0;
  std::size_t size = sizeof value;
  return sysctlbyname(name, &value, &size, nullptr, 0) == 0 && value != 0;
}
#endif

ArmFeatures detect() noexcept {
  ArmFeatures features;
#if defined(__linux__)
  // Bits of the kernel's interface (asm/hwcap.h), which older C libraries do not name.
  constexpr unsigned long kHwcapDotprod = 1UL << 20, kHwcap2I8mm = 1UL << 13;
  features.dotprod = (getauxval(AT_HWCAP) & kHwcapDotprod) != 0;
  features.i8mm = (getauxval(AT_HWCAP2) & kHwcap2I8mm) != 0;
#elif defined(__APPLE__)
  features.dotprod = has("hw.optional.arm.FEAT_DotProd");
  features.i8mm = has("hw.optional.arm.FEAT_I8MM");
#elif defined(_WIN32)
  constexpr DWORD kDotprod =
      43;  // PF_ARM_V82_DP_INSTRUCTIONS_AVAILABLE; there is no number for i8mm everywhere
  features.dotprod = IsProcessorFeaturePresent(kDotprod) != 0;
#endif
  return features;
}

}  // namespace

const ArmFeatures& arm_features() noexcept {
  static const ArmFeatures features = detect();
  return features;
}

}  // namespace qslim
#endif
