// SPDX-License-Identifier: Apache-2.0
#include "qslim/runtime/lowering/value.h"

#include "qslim/runtime/lowering/infer_context.h"

namespace qslim::runtime {

Dims Value::memory_dims() const {
  if (layout == Layout::kPlain || dims.size() != 4) return dims;
  return {dims[0], dims[2], dims[3], dims[1]};
}

std::size_t Value::bytes() const { return static_cast<std::size_t>(element_count(dims)) * size_of(dtype); }

bool Storage::operator==(const Storage& other) const noexcept {
  return type.dtype == other.type.dtype && type.scale == other.type.scale &&
         type.zero_point == other.type.zero_point && type.qmin == other.type.qmin &&
         type.qmax == other.type.qmax;
}

Storage real_storage() { return Storage{ElementwiseType{DType::kFloat32, 1.0f, 0, 0, 0}}; }

Storage storage_of(const Quantization& q) {
  const std::int32_t shift = q.is_unsigned() ? 0 : 128;
  return Storage{
      ElementwiseType{DType::kUint8, q.scale[0], q.zero_point + shift, q.qmin + shift, q.qmax + shift}};
}

}  // namespace qslim::runtime
