// SPDX-License-Identifier: Apache-2.0
#include "qslim/kernels/typed_elementwise/typed_elementwise.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

namespace qslim {
namespace {

constexpr std::size_t kTask = 32 << 10;  // elements
constexpr std::size_t kAxes = ElementwiseExtents::kAxes;

// Runs body(result offset, operand offsets, inner extent) for every row of the result.
template <std::size_t kOperands, class Body>
void for_each_row(Context& context, const ElementwiseExtents& e, const Body& body) {
  const std::size_t inner = e.extent[kAxes - 1];
  std::size_t rows = 1;
  for (std::size_t i = 0; i + 1 < kAxes; ++i) rows *= e.extent[i];
  if (rows * inner == 0) return;
  context.pool().for_each_block(rows, std::max<std::size_t>(kTask / inner, 1), [&](Block block) {
    for (std::size_t row = block.begin; row < block.begin + block.size; ++row) {
      std::ptrdiff_t offsets[kOperands] = {};
      for (std::size_t rest = row, i = kAxes - 1; i-- > 0; rest /= e.extent[i]) {
        const auto at = static_cast<std::ptrdiff_t>(rest % e.extent[i]);
        for (std::size_t k = 0; k < kOperands; ++k) offsets[k] += at * e.operand_strides[k][i];
      }
      body(row * inner, offsets, inner);
    }
  });
}

template <class In, class Out, class Function>
void map(Context& context, const ElementwiseExtents& e, const void* a, const void* b, void* y,
         Function function) {
  const std::ptrdiff_t a_step = e.operand_strides[0][kAxes - 1], b_step = e.operand_strides[1][kAxes - 1];
  for_each_row<2>(context, e, [=](std::size_t to, const std::ptrdiff_t* offsets, std::size_t n) {
    const In* p = static_cast<const In*>(a) + offsets[0];
    const In* q = static_cast<const In*>(b) + offsets[1];
    Out* r = static_cast<Out*>(y) + to;
    for (std::size_t i = 0; i < n; ++i, p += a_step, q += b_step) r[i] = static_cast<Out>(function(*p, *q));
  });
}

template <class T>
bool compare(Context& context, TypedOp op, const ElementwiseExtents& e, const void* a, const void* b,
             void* y) {
  using Byte = std::uint8_t;
  switch (op) {
    case TypedOp::kEqual: map<T, Byte>(context, e, a, b, y, [](T l, T r) { return l == r; }); break;
    case TypedOp::kGreater: map<T, Byte>(context, e, a, b, y, [](T l, T r) { return l > r; }); break;
    case TypedOp::kGreaterOrEqual: map<T, Byte>(context, e, a, b, y, [](T l, T r) { return l >= r; }); break;
    case TypedOp::kLess: map<T, Byte>(context, e, a, b, y, [](T l, T r) { return l < r; }); break;
    case TypedOp::kLessOrEqual: map<T, Byte>(context, e, a, b, y, [](T l, T r) { return l <= r; }); break;
    default: return false;
  }
  return true;
}

template <class T>
T divide(T a, T b) {
  using U = std::make_unsigned_t<T>;
  if (b == 0) return 0;
  return b == -1 ? static_cast<T>(U{0} - static_cast<U>(a)) : static_cast<T>(a / b);
}

template <class T>
T modulo(T a, T b) {
  if (b == 0 || b == -1) return 0;
  const T rest = static_cast<T>(a % b);
  return rest != 0 && (rest < 0) != (b < 0) ? static_cast<T>(rest + b) : rest;
}

template <class T>
bool compute(Context& context, TypedOp op, const ElementwiseExtents& e, const void* a, const void* b,
             void* y) {
  using U = std::make_unsigned_t<T>;
  const auto wrap = [](U x) { return static_cast<T>(x); };
  switch (op) {
    case TypedOp::kAdd:
      map<T, T>(context, e, a, b, y, [&](T l, T r) { return wrap(static_cast<U>(l) + static_cast<U>(r)); });
      return true;
    case TypedOp::kSub:
      map<T, T>(context, e, a, b, y, [&](T l, T r) { return wrap(static_cast<U>(l) - static_cast<U>(r)); });
      return true;
    case TypedOp::kMul:
      map<T, T>(context, e, a, b, y, [&](T l, T r) { return wrap(static_cast<U>(l) * static_cast<U>(r)); });
      return true;
    case TypedOp::kDiv: map<T, T>(context, e, a, b, y, divide<T>); return true;
    case TypedOp::kMod: map<T, T>(context, e, a, b, y, modulo<T>); return true;
    case TypedOp::kMax: map<T, T>(context, e, a, b, y, [](T l, T r) { return std::max(l, r); }); return true;
    case TypedOp::kMin: map<T, T>(context, e, a, b, y, [](T l, T r) { return std::min(l, r); }); return true;
    default: return false;
  }
}

bool combine_bytes(Context& context, TypedOp op, const ElementwiseExtents& e, const void* a, const void* b,
                   void* y) {
  using Byte = std::uint8_t;
  switch (op) {
    case TypedOp::kAnd:
      map<Byte, Byte>(context, e, a, b, y, [](Byte l, Byte r) { return (l != 0) & (r != 0); });
      return true;
    case TypedOp::kOr:
      map<Byte, Byte>(context, e, a, b, y, [](Byte l, Byte r) { return (l != 0) | (r != 0); });
      return true;
    case TypedOp::kXor:
    case TypedOp::kEqual: {
      const bool wanted = op == TypedOp::kXor;
      map<Byte, Byte>(context, e, a, b, y,
                      [wanted](Byte l, Byte r) { return ((l != 0) != (r != 0)) == wanted; });
      return true;
    }
    default: return false;
  }
}

template <class T>
void choose(Context& context, const ElementwiseExtents& e, const std::uint8_t* condition, const void* a,
            const void* b, void* y) {
  const std::ptrdiff_t steps[] = {e.operand_strides[0][kAxes - 1], e.operand_strides[1][kAxes - 1],
                                  e.operand_strides[2][kAxes - 1]};
  for_each_row<3>(context, e, [=](std::size_t to, const std::ptrdiff_t* offsets, std::size_t n) {
    const std::uint8_t* c = condition + offsets[0];
    const T* p = static_cast<const T*>(a) + offsets[1];
    const T* q = static_cast<const T*>(b) + offsets[2];
    T* r = static_cast<T*>(y) + to;
    for (std::size_t i = 0; i < n; ++i, c += steps[0], p += steps[1], q += steps[2]) r[i] = *c != 0 ? *p : *q;
  });
}

template <class To, class From>
To converted(From x) {
  if constexpr (std::is_floating_point_v<From> && std::is_integral_v<To>) {
    using Limits = std::numeric_limits<To>;
    if (!(x == x)) return 0;
    // The upper end itself need not be a float: 2^31 - 1 rounds to 2^31.
    if (x >= static_cast<From>(Limits::max())) return Limits::max();
    return x <= static_cast<From>(Limits::min()) ? Limits::min() : static_cast<To>(x);
  } else {
    return static_cast<To>(x);
  }
}

template <class From, class To, class Function>
void convert(Context& context, std::size_t n, const void* x, void* y, Function function) {
  context.pool().for_each_block(n, kTask, [&](Block block) {
    const From* p = static_cast<const From*>(x) + block.begin;
    To* q = static_cast<To*>(y) + block.begin;
    for (std::size_t i = 0; i < block.size; ++i) q[i] = function(p[i]);
  });
}

template <class From, class To>
void convert(Context& context, std::size_t n, const void* x, void* y) {
  convert<From, To>(context, n, x, y, [](From v) { return converted<To>(v); });
}

template <class From>
void convert_from(Context& context, std::size_t n, const void* x, DType to, void* y) {
  switch (to) {
    case DType::kFloat32: return convert<From, float>(context, n, x, y);
    case DType::kInt8: return convert<From, std::int8_t>(context, n, x, y);
    case DType::kUint8: return convert<From, std::uint8_t>(context, n, x, y);
    case DType::kInt32: return convert<From, std::int32_t>(context, n, x, y);
    case DType::kInt64: return convert<From, std::int64_t>(context, n, x, y);
    case DType::kBool:
      return convert<From, std::uint8_t>(context, n, x, y,
                                         [](From v) { return static_cast<std::uint8_t>(v != From{0}); });
  }
}

}  // namespace

void typed_binary(Context& context, TypedOp op, DType dtype, const ElementwiseExtents& e, const void* a,
                  const void* b, void* y) {
  bool is_done = false;
  switch (dtype) {
    case DType::kFloat32: is_done = compare<float>(context, op, e, a, b, y); break;
    case DType::kInt8: is_done = compare<std::int8_t>(context, op, e, a, b, y); break;
    case DType::kUint8: is_done = compare<std::uint8_t>(context, op, e, a, b, y); break;
    case DType::kInt32:
      is_done =
          compare<std::int32_t>(context, op, e, a, b, y) || compute<std::int32_t>(context, op, e, a, b, y);
      break;
    case DType::kInt64:
      is_done =
          compare<std::int64_t>(context, op, e, a, b, y) || compute<std::int64_t>(context, op, e, a, b, y);
      break;
    case DType::kBool: is_done = combine_bytes(context, op, e, a, b, y); break;
  }
  QSLIM_REQUIRE(is_done, "typed_binary: this operator is not defined for ", name_of(dtype));
}

void typed_where(Context& context, std::size_t element_size, const ElementwiseExtents& e,
                 const std::uint8_t* condition, const void* a, const void* b, void* y) {
  switch (element_size) {
    case 1: return choose<std::uint8_t>(context, e, condition, a, b, y);
    case 4: return choose<std::uint32_t>(context, e, condition, a, b, y);
    case 8: return choose<std::uint64_t>(context, e, condition, a, b, y);
    default: QSLIM_REQUIRE(false, "typed_where: element_size must be 1, 4 or 8, got ", element_size);
  }
}

void typed_cast(Context& context, std::size_t n, DType from, const void* x, DType to, void* y) {
  switch (from) {
    case DType::kFloat32: return convert_from<float>(context, n, x, to, y);
    case DType::kInt8: return convert_from<std::int8_t>(context, n, x, to, y);
    case DType::kUint8: return convert_from<std::uint8_t>(context, n, x, to, y);
    case DType::kInt32: return convert_from<std::int32_t>(context, n, x, to, y);
    case DType::kInt64: return convert_from<std::int64_t>(context, n, x, to, y);
    case DType::kBool:
      if (to == DType::kFloat32) {
        return convert<std::uint8_t, float>(context, n, x, y,
                                            [](std::uint8_t v) { return v != 0 ? 1.0f : 0.0f; });
      }
      return convert_from<std::uint8_t>(context, n, x, to, y);
  }
}

}  // namespace qslim
