// SPDX-License-Identifier: Apache-2.0
//
// Value: one form of a tensor: its layout, its element type (float32, or uint8 with quantization parameters)
// and the buffer that holds it. A tensor may exist in several forms at once.
#pragma once

#include <cstdint>

#include "qslim/kernels/elementwise/elementwise.h"
#include "qslim/runtime/model/model.h"

namespace qslim::runtime {

// kChannelsLast: a tensor [N, C, H, W] is [N, H, W, C] in memory. Everything else is kPlain, row-major.
enum class Layout : std::uint8_t { kPlain, kChannelsLast };

// The storage of a tensor's elements. `type` has stored units: signed integers are shifted by 128.
struct Storage {
  ElementwiseType type;
  bool is_quantized() const noexcept { return type.dtype == DType::kUint8; }
  bool operator==(const Storage& other) const noexcept;
};

Storage real_storage();
Storage storage_of(const Quantization& quantization);

struct Value {
  Dims dims;  // as the graph has them
  Layout layout = Layout::kPlain;
  Storage storage;
  DType dtype = DType::kFloat32;  // uint8 if quantized, int64 and others for integers
  int buffer = -1;

  Dims memory_dims() const;  // dims in the order of memory
  std::size_t bytes() const;
};

}  // namespace qslim::runtime
