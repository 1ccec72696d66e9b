// SPDX-License-Identifier: Apache-2.0
//
// Machines that this library is for, or a sentence at compile time.
#pragma once

static_assert(sizeof(void*) == 8,
              "qslim needs a 64-bit target: files and buffers exceed what 32 bits address");
#if defined(__BYTE_ORDER__)
static_assert(
    __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
    "qslim needs a little-endian target: .qslim files are read in place, and hold little-endian numbers");
#endif
