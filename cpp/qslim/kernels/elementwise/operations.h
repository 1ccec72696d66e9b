// SPDX-License-Identifier: Apache-2.0
//
// The old place of qslim/formulas/elementwise_op.h, for code that includes it from here.
#pragma once

#include "qslim/formulas/elementwise_op.h"
