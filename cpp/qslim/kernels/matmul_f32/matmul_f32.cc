// SPDX-License-Identifier: Apache-2.0
//
// A task is a panel of 16 columns against a run of rows. The panel is packed into the thread's scratch where
// it is transposed, ragged, or read often enough to pay; else the kernels read b where it lies.
#include "qslim/kernels/matmul_f32/matmul_f32.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "qslim/core/aligned_buffer.h"
#include "qslim/core/dispatch.h"
#include "qslim/kernels/matmul_f32/table.h"

namespace qslim {
namespace {

constexpr std::size_t kRowsPerTask = 192;          // packing a panel costs about as much as 4 rows of it
constexpr std::size_t kProductsPerTask = 1 << 17;  // some 5 us
constexpr std::size_t kPackRows = 12;

std::size_t panel_bytes(std::size_t k) {
  const std::size_t bytes = k * kMatmulColumns * sizeof(float);
  return (bytes + kCacheLine - 1) / kCacheLine * kCacheLine;
}

// packed[i, n], columns past `columns` zero.
void pack(const MatmulF32Kernels& kernels, const MatmulExtents& e, std::size_t columns, const float* b,
          float* packed) {
  if (columns < kMatmulColumns) std::fill_n(packed, e.k * kMatmulColumns, 0.0f);
  if (e.b_n_stride == 1) {
    for (std::size_t i = 0; i < e.k; ++i, packed += kMatmulColumns) {
      const float* const from = b + static_cast<std::ptrdiff_t>(i) * e.b_k_stride;
      if (columns == kMatmulColumns) {
        std::memcpy(packed, from, kMatmulColumns * sizeof(float));
      } else {
        std::copy_n(from, columns, packed);
      }
    }
  } else if (e.b_k_stride == 1) {
    kernels.transpose(columns, e.k, reinterpret_cast<const std::uint32_t*>(b), e.b_n_stride,
                      reinterpret_cast<std::uint32_t*>(packed), kMatmulColumns);
  } else {
    for (std::size_t i = 0; i < e.k; ++i, packed += kMatmulColumns) {
      for (std::size_t n = 0; n < columns; ++n) {
        packed[n] =
            b[static_cast<std::ptrdiff_t>(i) * e.b_k_stride + static_cast<std::ptrdiff_t>(n) * e.b_n_stride];
      }
    }
  }
}

// Rows [first_row, first_row + rows) of columns [first, first + columns).
void run_columns(const MatmulF32Kernels& kernels, const MatmulExtents& e, const float* a, const float* b,
                 float* c, std::size_t first_row, std::size_t rows, std::size_t first, std::size_t columns,
                 float* packed) {
  const auto row_of_a = [&](std::size_t m) {
    return MatmulOperandA{a + static_cast<std::ptrdiff_t>(m) * e.a_m_stride, e.a_m_stride, e.a_k_stride};
  };
  const auto row_of_c = [&](std::size_t m) { return c + static_cast<std::ptrdiff_t>(m) * e.c_m_stride; };
  const std::size_t end = first + columns, end_row = first_row + rows;
  std::size_t n = first;
  if (rows <= 2 && e.b_n_stride == 1) {
    for (; n + kMatmulWide <= end; n += kMatmulWide) {
      for (std::size_t m = first_row; m < end_row; ++m) {
        kernels.wide(e.k, row_of_a(m), b + n, e.b_k_stride, row_of_c(m) + n);
      }
    }
  }
  for (; n < end; n += kMatmulColumns) {
    const std::size_t count = std::min(kMatmulColumns, end - n);
    const float* panel = b + static_cast<std::ptrdiff_t>(n) * e.b_n_stride;
    std::ptrdiff_t panel_stride = e.b_k_stride;
    if (e.b_n_stride != 1 || count < kMatmulColumns || rows > kPackRows) {
      pack(kernels, e, count, panel, packed);
      panel = packed;
      panel_stride = kMatmulColumns;
    }
    for (std::size_t m = first_row; m < end_row; m += kMatmulRows) {
      kernels.tile(std::min(kMatmulRows, end_row - m), count, e.k, row_of_a(m), panel, panel_stride,
                   row_of_c(m) + n, e.c_m_stride);
    }
  }
}

}  // namespace

MatmulExtents contiguous_matmul_extents(std::size_t a_batch, std::size_t b_batch, std::size_t m,
                                        std::size_t n, std::size_t k, bool a_transposed, bool b_transposed) {
  QSLIM_REQUIRE(a_batch == b_batch || a_batch == 1 || b_batch == 1, "matmul: batches ", a_batch, " and ",
                b_batch, " do not broadcast");
  const auto stride = [](std::size_t value) { return static_cast<std::ptrdiff_t>(value); };
  MatmulExtents e;
  e.batch[2] = a_batch == 1 ? b_batch : a_batch;
  e.m = m, e.n = n, e.k = k;
  e.a_batch_strides[2] = a_batch == 1 ? 0 : stride(m * k);
  e.b_batch_strides[2] = b_batch == 1 ? 0 : stride(k * n);
  e.c_batch_strides[2] = stride(m * n);
  e.a_m_stride = a_transposed ? 1 : stride(k);
  e.a_k_stride = a_transposed ? stride(m) : 1;
  e.b_k_stride = b_transposed ? 1 : stride(n);
  e.b_n_stride = b_transposed ? stride(k) : 1;
  e.c_m_stride = stride(n);
  return e;
}

std::size_t matmul_f32_scratch_bytes(const MatmulExtents& extents, std::size_t num_threads) {
  return panel_bytes(extents.k) * num_threads;
}

void matmul_f32(Context& context, const MatmulExtents& e, const float* a, const float* b, float* c,
                std::byte* scratch) {
  const std::size_t batches = e.batch[0] * e.batch[1] * e.batch[2];
  if (batches == 0 || e.m == 0 || e.n == 0) return;
  const MatmulF32Kernels& kernels = best_kernel(kMatmulF32Kernels, context.isa());
  const std::size_t row_runs = (e.m + kRowsPerTask - 1) / kRowsPerTask;
  const std::size_t rows_per_run = (e.m + row_runs - 1) / row_runs;
  // Whole wide blocks, and enough products to be worth a task.
  const std::size_t products = std::max<std::size_t>(rows_per_run * e.k * kMatmulWide, 1);
  const std::size_t columns_per_task = kMatmulWide * std::max<std::size_t>(kProductsPerTask / products, 1);
  const std::size_t column_runs = (e.n + columns_per_task - 1) / columns_per_task;
  context.pool().run(batches * row_runs * column_runs, [&](std::size_t task, std::size_t worker) {
    const std::size_t column = task % column_runs * columns_per_task;
    const std::size_t row = task / column_runs % row_runs * rows_per_run;
    std::ptrdiff_t a_offset = 0, b_offset = 0, c_offset = 0;
    std::size_t rest = task / (column_runs * row_runs);
    for (std::size_t axis = MatmulExtents::kBatchAxes; axis-- > 0; rest /= e.batch[axis]) {
      const std::ptrdiff_t index = static_cast<std::ptrdiff_t>(rest % e.batch[axis]);
      a_offset += index * e.a_batch_strides[axis];
      b_offset += index * e.b_batch_strides[axis];
      c_offset += index * e.c_batch_strides[axis];
    }
    run_columns(kernels, e, a + a_offset, b + b_offset, c + c_offset, row, std::min(rows_per_run, e.m - row),
                column, std::min(columns_per_task, e.n - column),
                reinterpret_cast<float*>(scratch + worker * panel_bytes(e.k)));
  });
}

}  // namespace qslim
