// SPDX-License-Identifier: Apache-2.0
//
// GB/s of the operators that are neither convolutions nor fully connected layers, at sizes that networks
// have, on one thread: a family's driver with each row of its table. Items are elements; of matrix products,
// multiply-adds.
//   build/cpp/cpp/bench/qslim_operators_bench --benchmark_filter=softmax
#include "bench.h"

#include <algorithm>
#include <memory>

#include "qslim/core/context.h"
#include "qslim/kernels/axis_reductions/axis_reductions.h"
#include "qslim/kernels/axis_reductions/table.h"
#include "qslim/kernels/elementwise/elementwise.h"
#include "qslim/kernels/elementwise/table.h"
#include "qslim/kernels/layer_norm/layer_norm.h"
#include "qslim/kernels/layer_norm/table.h"
#include "qslim/kernels/matmul_f32/matmul_f32.h"
#include "qslim/kernels/matmul_f32/table.h"
#include "qslim/kernels/movement/movement.h"
#include "qslim/kernels/movement/table.h"
#include "qslim/kernels/pool/pool.h"
#include "qslim/kernels/pool/table.h"
#include "qslim/kernels/resize/resize.h"
#include "qslim/kernels/resize/table.h"
#include "qslim/kernels/softmax/softmax.h"
#include "qslim/kernels/softmax/table.h"

namespace qslim {
namespace {

using bench::add;
using bench::for_each_row;
using bench::name_of_row;
using bench::normal_floats;
using bench::random_bytes;
using Floats = std::vector<float>;
using Bytes = std::vector<std::uint8_t>;
using Op = ElementwiseOp;

// A pool of threads is not copied; the benchmarks of a row share it.
std::shared_ptr<Context> one_thread(Isa isa) { return std::make_shared<Context>(1, isa); }

void register_axis_reductions(Isa isa) {
  const auto context = one_thread(isa);
  struct Layer {
    const char* name;
    std::size_t outer, axis, inner;
  };
  for (const Layer& layer : {Layer{"nchw_1280x7x7", 1280, 49, 1}, Layer{"nhwc_7x7x1280", 1, 49, 1280}}) {
    const std::size_t n = layer.outer * layer.axis * layer.inner;
    add(name_of_row("reduce_mean", isa, layer.name), 4 * n, n,
        [=, x = normal_floats(n), y = Floats(layer.outer * layer.inner)]() mutable {
          reduce_axes(*context, ReduceOp::kMean, layer.outer, layer.axis, layer.inner, x.data(), y.data());
        });
  }
  constexpr std::size_t kClasses = 19, kPixels = 128 * 256;
  add(name_of_row("argmax", isa, "segmentation_19x128x256"), 4 * kClasses * kPixels, kClasses * kPixels,
      [=, x = normal_floats(kClasses * kPixels), y = std::vector<std::int64_t>(kPixels)]() mutable {
        argmax(*context, 1, kClasses, kPixels, x.data(), y.data());
      });
}

const ElementwiseType kFloat, kByte = {DType::kUint8, 0.05f, 120, 0, 255};

void register_program(Isa isa, const std::string& operation, const std::string& layer,
                      const std::vector<std::vector<std::size_t>>& shapes,
                      const std::vector<ElementwiseType>& types, const std::vector<ElementwiseStep>& steps,
                      const ElementwiseType& result) {
  const auto context = one_thread(isa);
  const ElementwiseExtents extents = broadcast_extents(shapes);
  std::size_t n = 1, bytes = 0;
  for (const std::size_t extent : extents.extent) n *= extent;
  std::vector<Floats> floats(shapes.size());
  std::vector<Bytes> stored(shapes.size());
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    std::size_t elements = 1;
    for (const std::size_t extent : shapes[i]) elements *= extent;
    if (types[i].dtype == DType::kUint8) {
      stored[i] = random_bytes(elements);
    } else {
      floats[i] = normal_floats(elements);
    }
    bytes += elements * size_of(types[i].dtype);
  }
  bytes += n * size_of(result.dtype);
  const Elementwise program(isa, types, steps, result);
  add(name_of_row(operation, isa, layer), bytes, n, [=, y = Bytes(n * size_of(result.dtype))]() mutable {
    std::vector<const void*> operands;
    for (std::size_t i = 0; i < floats.size(); ++i) {
      operands.push_back(stored[i].empty() ? static_cast<const void*>(floats[i].data()) : stored[i].data());
    }
    program.run(*context, extents, operands, y.data());
  });
}

void register_elementwise(Isa isa) {
  register_program(isa, "silu_f32", "56x56x144", {{56 * 56, 144}}, {kFloat}, {{Op::kSilu, 0}}, kFloat);
  register_program(isa, "gelu_f32", "bert_128x3072", {{128, 3072}}, {kFloat}, {{Op::kGelu, 0}}, kFloat);
  register_program(isa, "hard_swish_u8", "28x28x120", {{28 * 28, 120}}, {kByte}, {{Op::kHardSwish, 0}},
                   kByte);
  register_program(isa, "add_u8", "residual_56x56x64", {{56 * 56, 64}, {56 * 56, 64}}, {kByte, kByte},
                   {{Op::kAdd, 0, 1}}, kByte);
  register_program(isa, "mul_u8_f32", "excite_28x28x120", {{28 * 28, 120}, {1, 120}}, {kByte, kFloat},
                   {{Op::kMul, 0, 1}}, kByte);
}

void register_layer_norm(Isa isa) {
  constexpr std::size_t kRows = 128, kWidth = 768;
  add(name_of_row("layer_norm", isa, "bert_128x768"), 8 * kRows * kWidth, kRows * kWidth,
      [context = one_thread(isa), x = normal_floats(kRows * kWidth), gamma = normal_floats(kWidth),
       beta = normal_floats(kWidth), y = Floats(kRows * kWidth)]() mutable {
        layer_norm(*context, kRows, kWidth, x.data(), {gamma.data(), beta.data()}, y.data());
      });
}

void register_softmax(Isa isa) {
  struct Layer {
    const char* name;
    std::size_t outer, axis, inner;
  };
  for (const Layer& layer :
       {Layer{"bert_scores_12x128x128", 12 * 128, 128, 1}, Layer{"classes_1000", 1, 1000, 1},
        Layer{"segmentation_19x128x256", 1, 19, 128 * 256}}) {
    const std::size_t n = layer.outer * layer.axis * layer.inner;
    add(name_of_row("softmax", isa, layer.name), 8 * n, n,
        [=, context = one_thread(isa), x = normal_floats(n), y = Floats(n)]() mutable {
          softmax(*context, layer.outer, layer.axis, layer.inner, x.data(), y.data());
        });
  }
}

void register_matmul_f32(Isa isa) {
  struct Layer {
    const char* name;
    std::size_t m, n, k;
    bool b_transposed;
  };
  for (const Layer& layer : {Layer{"bert_scores_12x128x64x128", 128, 128, 64, true},
                             Layer{"bert_values_12x128x128x64", 128, 64, 128, false}}) {
    constexpr std::size_t kHeads = 12;
    const auto [name, m, n, k, b_transposed] = layer;
    const MatmulExtents extents = contiguous_matmul_extents(kHeads, kHeads, m, n, k, false, b_transposed);
    const auto scratch = std::make_shared<AlignedBuffer<std::byte>>(matmul_f32_scratch_bytes(extents, 1));
    add(name_of_row("matmul_f32", isa, name), 4 * kHeads * (m * k + k * n + m * n), kHeads * m * n * k,
        [=, context = one_thread(isa), a = normal_floats(kHeads * m * k), b = normal_floats(kHeads * k * n),
         c = Floats(kHeads * m * n)]() mutable {
          matmul_f32(*context, extents, a.data(), b.data(), c.data(), scratch->data());
        });
  }
}

void register_copy(Isa isa, const std::string& operation, const std::string& layer, std::size_t element_bytes,
                   std::size_t rows, std::size_t columns, std::ptrdiff_t row_step,
                   std::ptrdiff_t column_step) {
  CopyExtents extents;
  extents.extent[6] = rows, extents.extent[7] = columns;
  extents.source_strides[6] = static_cast<std::ptrdiff_t>(columns), extents.source_strides[7] = 1;
  extents.destination_strides[6] = row_step, extents.destination_strides[7] = column_step;
  const std::size_t n = rows * columns;
  const std::size_t y_size = (rows - 1) * static_cast<std::size_t>(row_step) +
                             (columns - 1) * static_cast<std::size_t>(column_step) + 1;
  add(name_of_row(operation, isa, layer), 2 * element_bytes * n, n,
      [=, context = one_thread(isa), x = random_bytes(n * element_bytes),
       y = Bytes(y_size * element_bytes)]() mutable {
        strided_copy(*context, element_bytes, extents, x.data(), y.data());
      });
}

void register_movement(Isa isa) {
  register_copy(isa, "transpose_f32", "56x56x64", 4, 56 * 56, 64, 1, 56 * 56);
  register_copy(isa, "transpose_u8", "56x56x64", 1, 56 * 56, 64, 1, 56 * 56);
  register_copy(isa, "concat_u8", "56x56x64_of_256", 1, 56 * 56, 64, 256, 1);
  constexpr std::size_t kPixels = 224 * 224;
  add(name_of_row("nchw_f32_to_nhwc_u8", isa, "image_224x224x3"), 15 * kPixels, 3 * kPixels,
      [context = one_thread(isa), x = normal_floats(3 * kPixels), y = Bytes(3 * kPixels)]() mutable {
        nchw_f32_to_nhwc_u8(*context, {1, 3, kPixels, 3}, x.data(), {0.02f, 128, 0, 255}, y.data());
      });
}

void register_pool(Isa isa) {
  const PoolGeometry stem{64, 3, 3, 2, 2, 1, 1, false}, global{1280, 7, 7, 1, 1, 1, 1, false};
  const PoolExtents stem_extents = contiguous_pool_extents(stem, 1, 112, 112, 56, 56, 1, 1),
                    global_extents = contiguous_pool_extents(global, 1, 7, 7, 1, 1);
  constexpr std::size_t kStem = 112 * 112 * 64, kStemOut = 56 * 56 * 64, kGlobal = 7 * 7 * 1280;
  const auto context = one_thread(isa);
  const QParams params{0.05f, 3, 0, 255};
  add(name_of_row("max_pool_u8", isa, "112x112x64_3x3s2"), kStem + kStemOut, 9 * kStemOut,
      [=, x = random_bytes(kStem), y = Bytes(kStemOut)]() mutable {
        max_pool(*context, stem, stem_extents, x.data(), y.data());
      });
  add(name_of_row("max_pool_f32", isa, "112x112x64_3x3s2"), 4 * (kStem + kStemOut), 9 * kStemOut,
      [=, x = normal_floats(kStem), y = Floats(kStemOut)]() mutable {
        max_pool(*context, stem, stem_extents, x.data(), y.data());
      });
  add(name_of_row("average_pool_u8", isa, "global_7x7x1280"), kGlobal + 1280, kGlobal,
      [=, x = random_bytes(kGlobal), y = Bytes(1280)]() mutable {
        average_pool(*context, global, global_extents, x.data(), params, y.data(), params);
      });
  add(name_of_row("average_pool_f32", isa, "global_7x7x1280"), 4 * (kGlobal + 1280), kGlobal,
      [=, x = normal_floats(kGlobal), y = Floats(1280)]() mutable {
        average_pool(*context, global, global_extents, x.data(), y.data());
      });
}

void register_resize(Isa isa) {
  const auto extents = [](std::size_t channels, std::size_t in, std::size_t out) {
    return ResizeExtents{1, channels, in, in, channels, channels, out * channels, out * out * channels};
  };
  const auto context = one_thread(isa);
  const auto nearest = nearest_table(20, 40, 2, ResizeCoordinates::kAsymmetric, NearestRounding::kFloor);
  add(name_of_row("resize_nearest_u8", isa, "20x20x256_to_40x40"), 20 * 20 * 256 + 40 * 40 * 256,
      40 * 40 * 256,
      [=, e = extents(256, 20, 40), x = random_bytes(20 * 20 * 256), y = Bytes(40 * 40 * 256)]() mutable {
        resize_nearest(*context, 1, e, nearest, nearest, x.data(), y.data());
      });
  const auto linear = linear_table(32, 128, 4, ResizeCoordinates::kHalfPixel);
  constexpr std::size_t kIn = 32 * 32 * 64, kOut = 128 * 128 * 64;
  add(name_of_row("resize_bilinear_f32", isa, "32x32x64_to_128x128"), 4 * (kIn + kOut), kOut,
      [=, e = extents(64, 32, 128), x = normal_floats(kIn), y = Floats(kOut)]() mutable {
        resize_bilinear(*context, e, linear, linear, x.data(), y.data());
      });
}

void register_all() {
  const auto each = [](const auto& table, void (*register_isa)(Isa)) {
    for_each_row(table, [=](const auto& kernels) { register_isa(kernels.isa); });
  };
  each(kAxisReductionsKernels, register_axis_reductions);
  each(kElementwiseKernels, register_elementwise);
  each(kLayerNormKernels, register_layer_norm);
  each(kSoftmaxKernels, register_softmax);
  each(kMatmulF32Kernels, register_matmul_f32);
  each(kMovementKernels, register_movement);
  each(kPoolKernels, register_pool);
  each(kResizeKernels, register_resize);
}

}  // namespace
}  // namespace qslim

int main(int argc, char** argv) {
  qslim::register_all();
  return qslim::bench::run(argc, argv);
}
