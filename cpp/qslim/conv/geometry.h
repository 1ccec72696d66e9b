// SPDX-License-Identifier: Apache-2.0
//
// The old place of qslim/core/conv_geometry.h, for code that includes it from here.
#pragma once

#include "qslim/core/conv_geometry.h"
