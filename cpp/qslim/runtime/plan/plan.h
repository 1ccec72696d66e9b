// SPDX-License-Identifier: Apache-2.0
//
// Plan: a Model compiled for given input extents and one instruction set: a list of steps over buffers whose
// places are fixed. Immutable; what changes during a run is in a Workspace.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "qslim/core/context.h"
#include "qslim/runtime/model/model.h"

namespace qslim::runtime {

// Takes an output, by its number, from the step that shows it; the elements may be read during the call.
using ShowFn = std::function<void(std::size_t output, const void* elements)>;

// The view that a step has of a run: its buffers, scratch memory and threads.
struct Execution {
  Context& context;
  void* const* buffers;
  std::byte* scratch;
  const ShowFn* show = nullptr;

  template <class T>
  T* at(int buffer) const noexcept {
    return static_cast<T*>(buffers[buffer]);
  }
};

struct Step {
  std::string label;   // the node it comes from
  std::string op;      // "Conv+Relu", "Quantize", ...
  std::string kernel;  // "gemm_u8s8_avx2 6x16", ...
  std::string type;    // "int8", "float32", or "int8->float32" where it converts
  std::string reason;  // why it is not int8, where it could be
  std::int64_t macs = 0;
  std::vector<int> reads, writes;  // buffers
  std::size_t scratch_bytes = 0;
  std::function<void(const Execution&)> run;
};

struct Buffer {
  enum class Kind { kArena, kConstant, kInput, kOutput };
  Kind kind = Kind::kArena;
  std::size_t bytes = 0;
  std::size_t place = 0;  // offset in the arena, or index of the input or output
  std::shared_ptr<const void> constant;
};

// What becomes of outputs: the last steps copy them to the caller's arrays, or each is shown as soon as it is
// complete and its memory is used again.
enum class OutputUse : std::uint8_t { kReturned, kShown };

struct Plan {
  std::vector<Step> steps;
  std::vector<Buffer> buffers;
  std::vector<Dims> input_dims, output_dims;
  std::vector<DType> output_types;
  std::size_t arena_bytes = 0, scratch_bytes = 0;
};

// Kernels may read this far past the end of a buffer.
inline constexpr std::size_t kReadSlack = 128;

// Set the offset of every arena buffer: buffers whose lifetimes do not overlap share memory.
void place_buffers(Plan& plan);

}  // namespace qslim::runtime
