// SPDX-License-Identifier: Apache-2.0
//
// Elementwise programs: checks, planning, and the walk over blocks that stay in the first-level cache.
//
// The axes of a run are merged as far as all operands allow. What is left is a plane of rows (axes 4 and 5)
// below outer axes. A block is several whole rows where they are short, else a piece of one. Float operands
// that are contiguous over the block are used where they lie, others are brought into a slot; what repeats in
// every row (a vector over channels, a scalar) is brought there once and stays for the blocks that follow.
#include "qslim/kernels/elementwise/elementwise.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <iterator>
#include <limits>
#include <utility>

#include "qslim/core/dispatch.h"
#include "qslim/core/qparams.h"
#include "qslim/kernels/elementwise/table.h"
#include "qslim/kernels/elementwise/walk.h"

namespace qslim {
namespace {

constexpr std::size_t kAxes = ElementwiseExtents::kAxes;
constexpr std::size_t kMaxOperands = Elementwise::kMaxOperands, kMaxSteps = Elementwise::kMaxSteps;
constexpr std::size_t kBlock = 512;      // elements: a few slots of 2 KB fit the first-level cache
constexpr std::size_t kTask = 16 << 10;  // elements: some 5 us, well above the cost of handing a task over
constexpr std::size_t kOneThread = 32 << 10;

// The quantization parameters of a stored type, for the quantize and dequantize kernels.
struct StoredType {
  float scale = 1, inv_scale = 1, lo = 0, hi = 255, zero_point = 0;
  StoredType() = default;
  explicit StoredType(const ElementwiseType& type)
      : scale(type.scale),
        inv_scale(1.0f / type.scale),
        lo(static_cast<float>(type.qmin - type.zero_point)),
        hi(static_cast<float>(type.qmax - type.zero_point)),
        zero_point(static_cast<float>(type.zero_point)) {}
  ChannelParams params() const noexcept { return {&scale, &inv_scale, &lo, &hi, &zero_point}; }
};

using Walk = ElementwiseWalk;

struct Program {
  enum class Form { kProgram, kTable, kAdd, kMul };
  struct Step {
    ElementwiseOp op;
    std::uint8_t a, b;  // registers, identities resolved
    std::uint8_t slot;
    float p, q;
  };

  const ElementwiseKernels* kernels;
  std::size_t operands = 0, steps = 0;
  ElementwiseType types[kMaxOperands], result_type;
  StoredType stored_operands[kMaxOperands], stored_result;
  Step program[kMaxSteps];
  std::uint8_t result_register = 0;
  Form form = Form::kProgram;
  std::uint8_t fused_a = 0, fused_b = 0;
  FusedParams fused{};
  std::uint8_t table[256];

  void plan(const std::vector<ElementwiseStep>& source);
  void find_fused_form();
  void fill_table();
  void run(const Walk& walk, const void* const* data, void* result, std::size_t first_row, std::size_t rows,
           std::size_t first_column, std::size_t columns, const float* first_operand) const noexcept;
};

// Runs the blocks of one call; holds the slots.
class BlockRunner {
 public:
  BlockRunner(const Program& program, const Walk& walk) : program_(program), walk_(walk) {}

  struct Position {
    const std::byte* operand[kMaxOperands];
    std::byte* result;
  };

  bool is_float(std::size_t t) const {
    return t < program_.operands ? program_.types[t].dtype == DType::kFloat32 || (t == 0 && first_is_float_)
                                 : program_.result_type.dtype == DType::kFloat32;
  }
  void let_first_be_float() { first_is_float_ = true; }

  // `rows` whole rows, or a piece of one.
  void run(const Position& at, std::size_t rows, std::size_t columns) {
    rows_ = rows;
    columns_ = columns;
    n_ = rows * columns;
    if (program_.form == Program::Form::kTable && !first_is_float_) return run_table(at);
    if (program_.form != Program::Form::kProgram && run_fused(at)) return;
    const bool direct = is_float(program_.operands) && is_contiguous(program_.operands);
    float* const in_result = reinterpret_cast<float*>(at.result);
    const float* registers[kMaxOperands + kMaxSteps];
    for (std::size_t t = 0; t < program_.operands; ++t) {
      // A program without steps dequantizes or fills in place.
      const bool into_result = direct && program_.steps == 0 && t == program_.result_register;
      registers[t] = load(t, at.operand[t], into_result ? in_result : nullptr);
    }
    for (std::size_t s = 0; s < program_.steps; ++s) {
      const Program::Step& step = program_.program[s];
      const bool is_last = program_.operands + s == program_.result_register;
      float* const y = is_last && direct ? in_result : step_slots_[step.slot];
      program_.kernels->step(step.op, n_, registers[step.a], registers[step.b], step.p, step.q, y);
      registers[program_.operands + s] = y;
    }
    store(registers[program_.result_register], at.result);
  }

 private:
  std::ptrdiff_t column_stride(std::size_t t) const { return walk_.strides[t][kAxes - 1]; }
  std::ptrdiff_t row_stride(std::size_t t) const { return walk_.strides[t][kAxes - 2]; }
  // The block is along one stride.
  bool is_straight(std::size_t t) const {
    return rows_ == 1 || row_stride(t) == column_stride(t) * static_cast<std::ptrdiff_t>(columns_);
  }
  bool is_contiguous(std::size_t t) const { return is_straight(t) && column_stride(t) == 1; }

  void dequantize(std::size_t t, std::size_t n, const std::uint8_t* q, float* y) const {
    program_.kernels->dequantize(1, n, q, program_.stored_operands[t].params(), y);
  }

  // n elements `stride` apart.
  void load_line(std::size_t t, const std::byte* from, std::ptrdiff_t stride, std::size_t n, float* y) const {
    if (stride == 0) {
      std::fill_n(y, n, value_at(t, from, 0));
    } else if (stride != 1) {
      for (std::size_t i = 0; i < n; ++i) y[i] = value_at(t, from, static_cast<std::ptrdiff_t>(i) * stride);
    } else if (is_float(t)) {
      std::memcpy(y, from, n * sizeof(float));
    } else {
      dequantize(t, n, reinterpret_cast<const std::uint8_t*>(from), y);
    }
  }

  float value_at(std::size_t t, const std::byte* from, std::ptrdiff_t index) const {
    if (is_float(t)) return reinterpret_cast<const float*>(from)[index];
    const StoredType& stored = program_.stored_operands[t];
    return (static_cast<float>(reinterpret_cast<const std::uint8_t*>(from)[index]) - stored.zero_point) *
           stored.scale;
  }

  const float* load(std::size_t t, const std::byte* from, float* into) {
    const std::ptrdiff_t stride = column_stride(t);
    if (is_contiguous(t) && is_float(t)) return reinterpret_cast<const float*>(from);
    float* const slot = into != nullptr ? into : operand_slots_[t];
    // The same values in every row: what the slot holds may do.
    const bool repeats = rows_ == 1 ? stride == 0 : row_stride(t) == 0;
    if (into == nullptr && repeats && kept_[t].from == from && kept_[t].n >= n_) return slot;
    if (is_straight(t)) {
      load_line(t, from, stride, n_, slot);
    } else if (repeats && rows_ > 1) {
      load_line(t, from, stride, columns_, slot);
      // Doubling: short rows cost no call each.
      for (std::size_t have = columns_; have < n_;) {
        const std::size_t count = std::min(have, n_ - have);
        std::memcpy(slot + have, slot, count * sizeof(float));
        have += count;
      }
    } else {
      const std::ptrdiff_t step =
          row_stride(t) * static_cast<std::ptrdiff_t>(is_float(t) ? sizeof(float) : 1);
      for (std::size_t r = 0; r < rows_; ++r) {
        load_line(t, from + static_cast<std::ptrdiff_t>(r) * step, stride, columns_, slot + r * columns_);
      }
    }
    if (into == nullptr) kept_[t] = repeats ? Kept{from, n_} : Kept{};
    return slot;
  }

  void store(const float* values, std::byte* result) const {
    const bool straight = is_contiguous(program_.operands);
    const std::size_t lines = straight ? 1 : rows_, length = straight ? n_ : columns_;
    const std::ptrdiff_t step = row_stride(program_.operands);
    for (std::size_t r = 0; r < lines; ++r, values += length) {
      const std::ptrdiff_t offset = static_cast<std::ptrdiff_t>(r) * step;
      if (is_float(program_.operands)) {
        float* const y = reinterpret_cast<float*>(result) + offset;
        if (y != values) std::memcpy(y, values, length * sizeof(float));
      } else {
        program_.kernels->quantize(1, length, values, program_.stored_result.params(), Rounding::kTiesToEven,
                                   reinterpret_cast<std::uint8_t*>(result) + offset);
      }
    }
  }

  void run_table(const Position& at) const {
    const std::size_t result = program_.operands;
    const std::uint8_t* x = reinterpret_cast<const std::uint8_t*>(at.operand[0]);
    std::uint8_t* y = reinterpret_cast<std::uint8_t*>(at.result);
    if (is_contiguous(0) && is_contiguous(result)) return program_.kernels->table(n_, x, program_.table, y);
    const std::ptrdiff_t stride = column_stride(0);
    for (std::size_t r = 0; r < rows_; ++r, x += row_stride(0), y += row_stride(result)) {
      if (stride == 1) {
        program_.kernels->table(columns_, x, program_.table, y);
      } else {
        for (std::size_t i = 0; i < columns_; ++i)
          y[i] = program_.table[x[static_cast<std::ptrdiff_t>(i) * stride]];
      }
    }
  }

  bool run_fused(const Position& at) {
    const std::size_t a = program_.fused_a, b = program_.fused_b;
    if (first_is_float_ || !is_contiguous(a) || !is_contiguous(program_.operands)) return false;
    const std::uint8_t* const x = reinterpret_cast<const std::uint8_t*>(at.operand[a]);
    std::uint8_t* const q = reinterpret_cast<std::uint8_t*>(at.result);
    if (program_.form == Program::Form::kAdd) {
      if (!is_contiguous(b)) return false;
      program_.kernels->add(n_, x, reinterpret_cast<const std::uint8_t*>(at.operand[b]), program_.fused, q);
    } else {
      program_.kernels->mul(n_, x, load(b, at.operand[b], nullptr), program_.fused, q);
    }
    return true;
  }

  struct Kept {
    const std::byte* from = nullptr;
    std::size_t n = 0;
  };

  const Program& program_;
  const Walk& walk_;
  bool first_is_float_ = false;
  std::size_t rows_ = 0, columns_ = 0, n_ = 0;
  Kept kept_[kMaxOperands];
  alignas(64) float operand_slots_[kMaxOperands][kBlock];
  alignas(64) float step_slots_[kMaxSteps][kBlock];
};

void Program::plan(const std::vector<ElementwiseStep>& source) {
  // Identities vanish: their register is another name for their operand's.
  std::uint8_t alias[kMaxOperands + kMaxSteps];
  for (std::size_t t = 0; t < operands; ++t) alias[t] = static_cast<std::uint8_t>(t);
  for (std::size_t s = 0; s < source.size(); ++s) {
    const ElementwiseStep& step = source[s];
    const std::size_t known = operands + s;
    const bool binary = is_binary(step.op);
    QSLIM_REQUIRE(step.a < known && (!binary || step.b < known), "elementwise: step ", s, " reads register ",
                  int{step.a < known ? step.b : step.a}, " but only ", known, " are written before it");
    if (step.op == ElementwiseOp::kIdentity) {
      alias[known] = alias[step.a];
      continue;
    }
    alias[known] = static_cast<std::uint8_t>(operands + steps);
    const std::uint8_t a = alias[step.a];
    program[steps++] = {step.op, a, binary ? alias[step.b] : a, 0, step.p, step.q};
  }
  result_register = alias[operands + source.size() - 1];

  // A step may write over a register that no later step reads.
  std::size_t last_use[kMaxOperands + kMaxSteps] = {};
  for (std::size_t s = 0; s < steps; ++s) last_use[program[s].a] = last_use[program[s].b] = s;
  last_use[result_register] = kMaxSteps;
  std::array<std::size_t, kMaxSteps> busy_until{};  // the slot's value is last read by step busy_until - 1
  for (std::size_t s = 0; s < steps; ++s) {
    std::uint8_t slot = 0;
    while (busy_until[slot] > s) ++slot;
    program[s].slot = slot;
    busy_until[slot] = std::max(last_use[operands + s], s);
  }
}

void Program::find_fused_form() {
  if (operands != 2 || steps < 1 || steps > 2 || result_type.dtype != DType::kUint8) return;
  const Step& first = program[0];
  if (result_register != operands + steps - 1 || first.a > 1 || first.b > 1 || first.a == first.b) return;
  const StoredType& r = stored_result;
  constexpr float kFits16Bits = 32000;
  if (r.lo < -kFits16Bits || r.hi > kFits16Bits || r.zero_point < -kFits16Bits || r.zero_point > kFits16Bits)
    return;
  float lo = r.lo, hi = r.hi;
  if (steps == 2) {
    // Rounding is monotonic: clip(x) * inv_scale is x * inv_scale between the scaled bounds. A NaN must pass
    // the clip to become qmin afterwards, so the lower bound may only move where none can arise.
    const Step& second = program[1];
    if (second.op != ElementwiseOp::kClip || second.a != operands || !(second.p <= second.q)) return;
    lo = std::min(std::max(second.p * r.inv_scale, r.lo), r.hi);
    hi = std::min(std::max(second.q * r.inv_scale, r.lo), r.hi);
    constexpr float kNoOverflow = 0x1p100f;
    const bool is_finite = first.op == ElementwiseOp::kAdd && stored_operands[0].scale < kNoOverflow &&
                           stored_operands[1].scale < kNoOverflow;
    if (lo != r.lo && !is_finite) return;
  }
  fused_a = first.a;
  fused_b = first.b;
  const bool a_is_u8 = types[fused_a].dtype == DType::kUint8, b_is_u8 = types[fused_b].dtype == DType::kUint8;
  if (first.op == ElementwiseOp::kAdd && a_is_u8 && b_is_u8) {
    form = Form::kAdd;
  } else if (first.op == ElementwiseOp::kMul && (a_is_u8 || b_is_u8)) {
    form = Form::kMul;
    if (!a_is_u8) std::swap(fused_a, fused_b);
  } else {
    return;
  }
  const StoredType &a = stored_operands[fused_a], &b = stored_operands[fused_b];
  fused = {a.scale, a.zero_point, b.scale, b.zero_point, r.inv_scale, lo, hi, r.zero_point};
}

void Program::fill_table() {
  std::uint8_t all[256];
  for (int i = 0; i < 256; ++i) all[i] = static_cast<std::uint8_t>(i);
  Walk walk{};
  walk.operands = 1;
  std::fill(std::begin(walk.extent), std::end(walk.extent), 1);
  walk.extent[kAxes - 1] = 256;
  walk.strides[0][kAxes - 1] = walk.strides[1][kAxes - 1] = 1;
  const void* data[] = {all};
  run(walk, data, table, 0, 1, 0, 256, nullptr);
  form = Form::kTable;
}

void Program::run(const Walk& walk, const void* const* data, void* result, std::size_t first_row,
                  std::size_t rows, std::size_t first_column, std::size_t columns,
                  const float* first_operand) const noexcept {
  BlockRunner runner(*this, walk);
  if (first_operand != nullptr) runner.let_first_be_float();
  const std::size_t plane_rows = walk.extent[kAxes - 2];
  std::ptrdiff_t size[kMaxOperands + 1];
  for (std::size_t t = 0; t <= operands; ++t) size[t] = runner.is_float(t) ? sizeof(float) : 1;
  const bool whole_rows = columns == walk.extent[kAxes - 1];
  const std::size_t rows_per_block =
      whole_rows && columns <= kBlock ? std::max<std::size_t>(kBlock / columns, 1) : 1;

  for (std::size_t row = first_row, end = first_row + rows; row < end;) {
    const std::size_t in_plane = row % plane_rows, count = std::min(plane_rows - in_plane, end - row);
    std::ptrdiff_t offset[kMaxOperands + 1];
    for (std::size_t t = 0; t <= operands; ++t) {
      offset[t] = static_cast<std::ptrdiff_t>(in_plane) * walk.strides[t][kAxes - 2] +
                  static_cast<std::ptrdiff_t>(first_column) * walk.strides[t][kAxes - 1];
    }
    for (std::size_t outer = row / plane_rows, axis = kAxes - 2; outer > 0 && axis-- > 0;
         outer /= walk.extent[axis]) {
      if (walk.extent[axis] == 1) continue;
      const std::ptrdiff_t index = static_cast<std::ptrdiff_t>(outer % walk.extent[axis]);
      for (std::size_t t = 0; t <= operands; ++t) offset[t] += index * walk.strides[t][axis];
    }
    for (std::size_t r = 0; r < count; r += rows_per_block) {
      const std::size_t block_rows = std::min(rows_per_block, count - r);
      for (std::size_t c = 0; c < columns; c += kBlock) {
        BlockRunner::Position at;
        const auto moved = [&](std::size_t t) {
          return (offset[t] + static_cast<std::ptrdiff_t>(r) * walk.strides[t][kAxes - 2] +
                  static_cast<std::ptrdiff_t>(c) * walk.strides[t][kAxes - 1]) *
                 size[t];
        };
        // Operand 0 may be null where first_operand replaces it, and nothing can be added to null.
        for (std::size_t t = first_operand != nullptr ? 1 : 0; t < operands; ++t)
          at.operand[t] = static_cast<const std::byte*>(data[t]) + moved(t);
        if (first_operand != nullptr) {
          at.operand[0] =
              reinterpret_cast<const std::byte*>(first_operand + (row + r - first_row) * columns + c);
        }
        at.result = static_cast<std::byte*>(result) + moved(operands);
        runner.run(at, block_rows, std::min(kBlock, columns - c));
      }
    }
    row += count;
  }
}

}  // namespace

struct Elementwise::Impl : Program {};

Elementwise::Elementwise(Isa isa, std::vector<ElementwiseType> operands, std::vector<ElementwiseStep> steps,
                         ElementwiseType result) {
  QSLIM_REQUIRE(!operands.empty() && operands.size() <= kMaxOperands, "elementwise: operands must be 1 to ",
                kMaxOperands, ", got ", operands.size());
  QSLIM_REQUIRE(steps.size() <= kMaxSteps, "elementwise: steps must be at most ", kMaxSteps, ", got ",
                steps.size());
  auto impl = std::make_shared<Impl>();
  impl->kernels = &best_kernel(kElementwiseKernels, isa);
  impl->operands = operands.size();
  const auto stored_of = [](const ElementwiseType& type) {
    QSLIM_REQUIRE(type.dtype == DType::kFloat32 || type.dtype == DType::kUint8,
                  "elementwise: dtype must be float32 or uint8, got ", name_of(type.dtype));
    if (type.dtype == DType::kFloat32) return StoredType();
    QSLIM_REQUIRE(type.scale >= kMinScale && type.scale <= kMaxScale,
                  "elementwise: scale must be finite and > 0, got ", type.scale);
    QSLIM_REQUIRE(type.qmin >= 0 && type.qmin <= type.qmax && type.qmax <= 255,
                  "elementwise: [qmin, qmax] must lie in [0, 255], got [", type.qmin, ", ", type.qmax, "]");
    QSLIM_REQUIRE(type.zero_point >= -kMaxGrid && type.zero_point <= kMaxGrid,
                  "elementwise: zero_point is out of range, got ", type.zero_point);
    return StoredType(type);
  };
  for (std::size_t t = 0; t < operands.size(); ++t) {
    impl->types[t] = operands[t];
    impl->stored_operands[t] = stored_of(operands[t]);
  }
  impl->result_type = result;
  impl->stored_result = stored_of(result);
  impl->plan(steps);
  if (operands.size() == 1 && operands[0].dtype == DType::kUint8 && result.dtype == DType::kUint8) {
    impl->fill_table();
  } else {
    impl->find_fused_form();
  }
  impl_ = std::move(impl);
}

void Elementwise::run(Context& context, const ElementwiseExtents& extents, Span<const void* const> operands,
                      void* result) const {
  QSLIM_REQUIRE(operands.size() == impl_->operands && extents.operand_strides.size() == impl_->operands,
                "elementwise: the program has ", impl_->operands, " operands, got ", operands.size(),
                " with strides of ", extents.operand_strides.size());
  const Walk walk = walk_of(extents, impl_->operands, /*keep_rows=*/false);
  const std::size_t rows = rows_of(walk), columns = walk.extent[kAxes - 1];
  if (rows == 0 || columns == 0) return;
  if (rows * columns <= kOneThread || context.pool().num_threads() == 1) {
    impl_->run(walk, operands.data(), result, 0, rows, 0, columns, nullptr);
  } else if (columns > kTask) {
    const std::size_t pieces = (columns + kTask - 1) / kTask;
    context.pool().run(rows * pieces, [&](std::size_t i) {
      const std::size_t first = i % pieces * kTask;
      impl_->run(walk, operands.data(), result, i / pieces, 1, first, std::min(kTask, columns - first),
                 nullptr);
    });
  } else {
    context.pool().for_each_block(rows, std::max<std::size_t>(kTask / columns, 1), [&](Block block) {
      impl_->run(walk, operands.data(), result, block.begin, block.size, 0, columns, nullptr);
    });
  }
}

void Elementwise::run_rows(const ElementwiseExtents& extents, Span<const void* const> operands, void* result,
                           std::size_t first_row, std::size_t rows,
                           const float* first_operand) const noexcept {
  QSLIM_DCHECK(operands.size() == impl_->operands && extents.operand_strides.size() == impl_->operands);
  Walk walk = walk_of(extents, impl_->operands, /*keep_rows=*/true);
  if (first_operand != nullptr) {
    walk.strides[0][kAxes - 1] = 1;
    walk.strides[0][kAxes - 2] = static_cast<std::ptrdiff_t>(walk.extent[kAxes - 1]);
  }
  if (rows == 0 || walk.extent[kAxes - 1] == 0) return;
  impl_->run(walk, operands.data(), result, first_row, rows, 0, walk.extent[kAxes - 1], first_operand);
}

const char* Elementwise::kernel_name() const noexcept {
  return impl_->form == Impl::Form::kTable ? impl_->kernels->table_name : impl_->kernels->name;
}

}  // namespace qslim
