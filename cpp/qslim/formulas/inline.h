// SPDX-License-Identifier: Apache-2.0
//
// QSLIM_INLINE: functions that are always inlined. Per-ISA files need it: a copy of an inline function that
// is compiled for a newer instruction set must not be the one that the linker keeps.
#pragma once

#if defined(__GNUC__)
#define QSLIM_INLINE inline __attribute__((always_inline))
#else
#define QSLIM_INLINE inline
#endif
