// SPDX-License-Identifier: Apache-2.0
//
// Convolutions of NCHW arrays as loops.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "runtime/session_run.h"

namespace qslim::test {

struct ConvSpec {
  std::int64_t oc, kernel, stride = 1, pad = 0, groups = 1, dilation = 1;
};

// At (n, oc, oh, ow), the sum over the taps inside the image of product(x index, weight index).
template <class T>
std::vector<T> convolve(const Dims& x, const ConvSpec& c, Dims& y,
                        const std::function<T(std::size_t, std::size_t)>& product) {
  const std::int64_t span = (c.kernel - 1) * c.dilation + 1, in_group = x[1] / c.groups,
                     out_group = c.oc / c.groups;
  y = {x[0], c.oc, (x[2] + 2 * c.pad - span) / c.stride + 1, (x[3] + 2 * c.pad - span) / c.stride + 1};
  std::vector<T> sums;
  for (std::int64_t n = 0; n < y[0]; ++n) {
    for (std::int64_t o = 0; o < y[1]; ++o) {
      for (std::int64_t oh = 0; oh < y[2]; ++oh) {
        for (std::int64_t ow = 0; ow < y[3]; ++ow) {
          T sum{};
          for (std::int64_t i = 0; i < in_group; ++i) {
            for (std::int64_t kh = 0; kh < c.kernel; ++kh) {
              for (std::int64_t kw = 0; kw < c.kernel; ++kw) {
                const std::int64_t h = oh * c.stride - c.pad + kh * c.dilation,
                                   w = ow * c.stride - c.pad + kw * c.dilation;
                if (h < 0 || h >= x[2] || w < 0 || w >= x[3]) continue;
                const std::int64_t channel = o / out_group * in_group + i;
                sum +=
                    product(static_cast<std::size_t>(((n * x[1] + channel) * x[2] + h) * x[3] + w),
                            static_cast<std::size_t>(((o * in_group + i) * c.kernel + kh) * c.kernel + kw));
              }
            }
          }
          sums.push_back(sum);
        }
      }
    }
  }
  return sums;
}

// Integer sums of a convolution of x, quantized by p.
inline std::vector<std::int64_t> integer_conv(const Array& x, const QParams& p,
                                              const std::vector<std::int8_t>& w, const ConvSpec& c, Dims& y) {
  return convolve<std::int64_t>(x.dims, c, y, [&](std::size_t i, std::size_t k) {
    return std::int64_t{quantized(x.values[i], p) - p.zero_point} * w[k];
  });
}

inline std::size_t channel_of(std::size_t i, const Dims& dims) {
  return i / static_cast<std::size_t>(dims[2] * dims[3]) % static_cast<std::size_t>(dims[1]);
}

}  // namespace qslim::test
