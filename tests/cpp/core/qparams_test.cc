// SPDX-License-Identifier: Apache-2.0
#include "qslim/core/qparams.h"

#include <gtest/gtest.h>

#include "qslim/core/tensor_view.h"

namespace qslim {
namespace {

TEST(QParams, GridsOfEveryWidth) {
  EXPECT_EQ(grid_of(8, false).qmin, -127);
  EXPECT_EQ(grid_of(8, false).qmax, 127);
  EXPECT_EQ(grid_of(8, true).qmin, 0);
  EXPECT_EQ(grid_of(8, true).qmax, 255);
  EXPECT_EQ(grid_of(2, false).qmax, 1);
  EXPECT_EQ(grid_of(16, true).qmax, 65535);
  EXPECT_THROW(grid_of(1, false), InvalidArgument);
  EXPECT_THROW(grid_of(17, false), InvalidArgument);
}

TEST(ChannelExtents, SplitAShapeAroundItsAxis) {
  const ChannelExtents e = channel_extents({8, 512, 14, 14}, 1);
  EXPECT_EQ(e.outer, 8u);
  EXPECT_EQ(e.channels, 512u);
  EXPECT_EQ(e.inner, 196u);
  EXPECT_EQ(channel_extents({4, 5}, -1).channels, 5u);
  EXPECT_THROW(channel_extents({4, 5}, 2), InvalidArgument);
  EXPECT_THROW(channel_extents({}, 0), InvalidArgument);
}

}  // namespace
}  // namespace qslim
