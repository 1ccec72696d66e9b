// SPDX-License-Identifier: Apache-2.0
//
// The old place of qslim/kernels/conv/pixel_sink.h, for code that includes it from here.
#pragma once

#include "qslim/kernels/conv/pixel_sink.h"
