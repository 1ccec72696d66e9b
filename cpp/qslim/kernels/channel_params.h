// SPDX-License-Identifier: Apache-2.0
//
// ChannelParams: the quantization parameters of every channel, one array per number, as the vector kernels
// read them.
//
//   scale[c]       real value of one step          inv_scale[c]  1.0f / scale[c], rounded once
//   lo[c], hi[c]   qmin - zero_point[c], qmax - zero_point[c]: the bounds of q - zero_point
//   zero_point[c]  all as float; |values| <= 2^18 stay exact
//
// Kernels multiply by inv_scale, never divide: for x = 0.273939937f, scale = 0.00214854861f the two disagree
// (127.5 against 127.49999), and every path must round the same number.
// Included by per-ISA files: plain data only.
#pragma once

namespace qslim {

struct ChannelParams {
  const float* scale;
  const float* inv_scale;
  const float* lo;
  const float* hi;
  const float* zero_point;
};

}  // namespace qslim
