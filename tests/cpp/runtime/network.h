// SPDX-License-Identifier: Apache-2.0
//
// Networks of one input and one output against functions that compute the same.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "qslim/runtime/lowering/infer_context.h"
#include "runtime/example_models.h"
#include "runtime/session_run.h"
#include "test_data.h"

namespace qslim::test {

// Expect the outputs of `reference`, which computes a batch, on every instruction set, with 1, 2 and 4
// threads, and each image's own outputs from a run of that image alone. Tolerance 0 asks for the same
// numbers.
inline void expect_network(const ModelBuilder& builder, const std::vector<Dims>& extents,
                           const std::function<Array(const Array&)>& reference, float tolerance = 0) {
  for (const Isa isa : available_isas()) {
    for (const std::size_t threads : {1, 2, 4}) {
      const Session session(builder.model(), Session::Options{threads, isa});
      for (const Dims& dims : extents) {
        SCOPED_TRACE(std::string(name_of(isa)) + ", " + std::to_string(threads) + " threads, " +
                     runtime::text_of(dims));
        const Array x{dims, some_floats(count_of(dims), 6.0f, static_cast<unsigned>(dims.back()))};
        const Array expected = reference(x), actual = run(session, x);
        ASSERT_EQ(actual.dims, expected.dims);
        for (std::size_t i = 0; i < expected.values.size(); ++i) {
          ASSERT_NEAR(actual.values[i], expected.values[i], tolerance) << "element " << i;
        }
        // Each image by itself gives the bytes that it has in the batch.
        const std::size_t each = x.values.size() / static_cast<std::size_t>(dims[0]);
        for (std::size_t n = 0; n < static_cast<std::size_t>(dims[0]); ++n) {
          Array image{dims,
                      {x.values.begin() + static_cast<std::ptrdiff_t>(n * each),
                       x.values.begin() + static_cast<std::ptrdiff_t>((n + 1) * each)}};
          image.dims[0] = 1;
          const Array alone = run(session, image);
          expect_same_bits(actual.values.data() + n * alone.values.size(), alone.values.data(),
                           alone.values.size());
        }
      }
    }
  }
}

inline const std::vector<Dims> kImages = {
    {1, 4, 9, 7}, {8, 4, 9, 7}, {2, 4, 5, 16}, {8, 4, 3, 3}, {1, 4, 1, 1}};

inline Array fake_quant(Array x, const QParams& p) {
  for (float& value : x.values) value = real(quantized(value, p), p);
  return x;
}

}  // namespace qslim::test
