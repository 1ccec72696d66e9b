// SPDX-License-Identifier: Apache-2.0
//
// Optional instructions of an ARM64 CPU, as the operating system tells them.
#pragma once

namespace qslim {

struct ArmFeatures {
  bool neon = true;      // no ARM64 machine is without
  bool dotprod = false;  // sdot, udot
  bool i8mm = false;     // usdot, smmla
};

// Ask the operating system once. Where there is no way to ask, optional ones count as missing.
const ArmFeatures& arm_features() noexcept;

}  // namespace qslim
