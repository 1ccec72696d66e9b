// SPDX-License-Identifier: Apache-2.0
//
// The old place of qslim/kernels/conv/conv_f32.h, for code that includes it from here.
#pragma once

#include "qslim/kernels/conv/conv_f32.h"
