// SPDX-License-Identifier: Apache-2.0
//
// Shared by the tests of Session: arrays with extents, one run, quantization and dequantization.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "qslim/core/qparams.h"
#include "qslim/runtime/session.h"
#include "runtime/model_builder.h"

namespace qslim::test {

using runtime::Session;

struct Array {
  Dims dims;
  std::vector<float> values;
};

inline std::size_t count_of(const Dims& dims) {
  std::size_t count = 1;
  for (const std::int64_t extent : dims) count *= static_cast<std::size_t>(extent);
  return count;
}

inline Array run(const Session& session, const Array& x) {
  const std::vector<Session::Input> inputs = {{x.values.data(), x.dims}};
  const Session::OutputSpec spec = session.output_specs({x.dims}).at(0);
  Array y{spec.dims, std::vector<float>(count_of(spec.dims))};
  std::vector<void*> targets = {y.values.data()};
  session.run(inputs, targets);
  return y;
}

inline std::int32_t quantized(float x, const QParams& p) {
  const float q = std::nearbyint(x * (1.0f / p.scale)) + static_cast<float>(p.zero_point);
  return static_cast<std::int32_t>(
      std::min(std::max(q, static_cast<float>(p.qmin)), static_cast<float>(p.qmax)));
}

inline float real(std::int32_t q, const QParams& p) { return static_cast<float>(q - p.zero_point) * p.scale; }

}  // namespace qslim::test
