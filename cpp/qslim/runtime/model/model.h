// SPDX-License-Identifier: Apache-2.0
//
// Model: a network as its file describes it. Operators carry ONNX names and NCHW semantics; a quantized
// tensor carries its quantization parameters, there are no Q/DQ nodes. Nodes are in topological order, each
// tensor has one producer. Tensors are referred to by index; an absent input or output is kAbsent.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "qslim/core/dtype.h"

namespace qslim::runtime {

inline constexpr int kAbsent = -1;
inline constexpr std::int64_t kUnknownExtent = -1;

using Dims = std::vector<std::int64_t>;

struct Quantization {
  std::vector<float> scale;  // one, or one per channel, or with groups as groups_of() says
  std::optional<std::size_t> quant_axis;
  std::int32_t zero_point = 0, qmin = 0, qmax = 0;
  // Of a matrix: so many elements of the other axis than quant_axis have one scale, the last ones fewer; the
  // scales are a matrix with the axes of the tensor. 0: no groups.
  std::size_t group_size = 0;

  std::size_t groups_of(std::size_t extent) const noexcept {
    return group_size == 0 ? 1 : (extent + group_size - 1) / group_size;
  }
  bool fits_half_a_byte() const noexcept { return qmin >= -8 && qmin < 0 && qmax <= 7; }
  bool is_unsigned() const noexcept { return qmin >= 0; }
  bool fits_a_byte() const noexcept { return is_unsigned() ? qmax <= 255 : qmin >= -128 && qmax <= 127; }
};

struct Tensor {
  std::string name;
  DType dtype = DType::kFloat32;
  std::optional<Dims> shape;  // kUnknownExtent where it is known only at run time
  std::optional<Quantization> quantization;
  // Constants: row-major; int8 or uint8 integers if quantized with at most 8 bits, else dtype.
  const std::byte* data = nullptr;
  // The integers have 4 bits, two a byte, the lower half first; rows of the last axis begin with a byte.
  bool is_packed = false;

  bool is_constant() const noexcept { return data != nullptr; }
};

// Return the integers of a constant that is quantized to int8, one a byte, row-major.
std::vector<std::int8_t> signed_integers(const Tensor& tensor);

using Attribute = std::variant<std::int64_t, double, std::string, std::vector<std::int64_t>,
                               std::vector<double>, std::vector<std::string>>;

struct Node {
  std::string op_type, domain, label;
  std::vector<int> inputs, outputs;
  std::map<std::string, Attribute> attributes;
};

struct Model {
  std::vector<Tensor> tensors;
  std::vector<Node> nodes;
  std::vector<int> inputs, outputs;
  std::shared_ptr<const void> storage;  // keeps Tensor::data alive
  std::size_t file_bytes = 0;
};

}  // namespace qslim::runtime
