// SPDX-License-Identifier: Apache-2.0
//
// The old place of qslim/kernels/axis_reductions/operations.h, for code that includes it from here.
#pragma once

#include "qslim/kernels/axis_reductions/operations.h"
