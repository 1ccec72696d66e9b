// SPDX-License-Identifier: Apache-2.0
//
// Packing and blocking of WeightOnly.
#include "qslim/kernels/weight_only/weight_only.h"

#include <algorithm>
#include <cstring>

#include "qslim/core/aligned_buffer.h"
#include "qslim/core/dispatch.h"
#include "qslim/kernels/conv/blocks.h"
#include "qslim/kernels/gemm_f32/table.h"
#include "qslim/kernels/weight_only/table.h"

namespace qslim {
namespace {

// Floats of a panel. Narrower panels of gemm_f32 read more rows at once; rows of 3072 floats lie a multiple of a
// page apart, and more than 8 of them evict each other from the first-level cache: 3 times slower, measured.
constexpr std::size_t kPanelBytes = 1024 * 1024;
constexpr std::size_t kMostRows = 96;
// Columns of a task of few rows: each reads a panel once, so that a task is some 10 us.
constexpr std::size_t kTaskPanels = 8;

std::size_t integers_of(std::size_t k, bool is_narrow) {
  return (is_narrow ? divide_up(k, 2) : k) * kWeightColumns;
}

void pack_column(const WeightOnlyWeights& w, std::size_t n, std::uint8_t* panel) {
  const std::int8_t* const from = w.integers + n * w.n_stride;
  for (std::size_t k = 0; k < w.k; ++k) {
    const int q = from[k * w.k_stride];
    if (w.is_narrow) {
      std::uint8_t& both = panel[k / 2 * kWeightColumns];
      const int raised = q + 8;
      both = static_cast<std::uint8_t>(k % 2 == 0 ? (both & 0xf0) | raised : (both & 0x0f) | raised << 4);
    } else {
      panel[k * kWeightColumns] = static_cast<std::uint8_t>(q);
    }
  }
}

}  // namespace

struct WeightOnly::Packed {
  const WeightFunctions* functions;
  const GemmF32Kernel* gemm;
  WeightPanels panels;  // all of them
  std::size_t n;
  AlignedBuffer<std::uint8_t> integers;
  AlignedBuffer<float> scale, bias;  // bias [panels, 16]

  WeightPanels panels_from(std::size_t first, std::size_t count) const {
    WeightPanels some = panels;
    some.integers += first * some.panel_bytes;
    some.scale += first * some.panel_scales;
    some.count = count;
    return some;
  }

  // Panels that are dequantized at once for the kernels of gemm_f32; 0 where theirs are narrower.
  std::size_t float_panels() const {
    const std::size_t widest = gemm->layout.widest_panel() / kWeightColumns;
    const std::size_t cached = kPanelBytes / (panels.k * kWeightColumns * sizeof(float));
    return std::min(std::max<std::size_t>(cached, 1), widest);
  }

  bool multiplies_integers(std::size_t rows) const { return rows <= kWeightRows || float_panels() == 0; }

  std::size_t worker_bytes(std::size_t rows) const {
    const std::size_t floats = multiplies_integers(rows) ? kWeightRows * kTaskPanels * kWeightColumns
                                                         : float_panels() * kWeightColumns * panels.k;
    return round_up(floats * sizeof(float), kCacheLine);
  }

  void run_few(std::size_t rows, std::size_t first, std::size_t count, const float* x, float lo, float hi,
               float* y, float* sums) const {
    functions->multiply(panels_from(first, count), rows, x, panels.k, sums);
    const std::size_t begin = first * kWeightColumns, end = std::min(n, begin + count * kWeightColumns);
    for (std::size_t m = 0; m < rows; ++m, sums += count * kWeightColumns) {
      for (std::size_t i = begin; i < end; ++i) {
        float v = sums[i - begin] + bias[i];
        v = lo > v ? lo : v;
        v = hi < v ? hi : v;
        y[m * n + i] = v;
      }
    }
  }

  // `count` panels at most float_panels(), from a multiple of them.
  void run_many(std::size_t rows, std::size_t first_panel, std::size_t count, const float* x, float lo,
                float hi, float* y, float* floats) const {
    const std::size_t first = first_panel * kWeightColumns,
                      columns = std::min(count * kWeightColumns, n - first);
    // The last panel of gemm_f32 may be half of ours: the zeros of the other half go under its next row.
    const std::size_t lanes = gemm->layout.lanes;
    const std::size_t width = panel_vectors(columns, lanes, gemm->layout.max_vectors) * lanes;
    for (std::size_t panel = 0; panel < count; ++panel) {
      functions->dequantize(panels_from(first_panel + panel, 1), floats + panel * kWeightColumns, width);
    }
    for (std::size_t begin = 0; begin < rows; begin += kMostRows) {
      const std::size_t height = std::min(kMostRows, rows - begin);
      GemmBlock block;
      block.rows = height, block.steps = panels.k, block.columns = columns;
      block.a = x + begin * panels.k, block.a_stride = panels.k * sizeof(float);
      block.b = floats, block.bias = bias.data() + first,
      block.y = {reinterpret_cast<unsigned char*>(y + begin * n + first), n * sizeof(float)};
      gemm->multiply(block, {lo, hi});
    }
  }
};

WeightOnly::WeightOnly(Isa isa, const WeightOnlyWeights& w, Span<const float> bias) {
  QSLIM_REQUIRE(w.k > 0 && w.n > 0, "WeightOnly: the weight has ", w.k, " rows and ", w.n, " columns");
  QSLIM_REQUIRE(w.group_size % 2 == 0, "WeightOnly: group_size must be even, got ", w.group_size);
  QSLIM_REQUIRE(bias.empty() || bias.size() == w.n, "WeightOnly: ", w.n, " columns but a bias of ",
                bias.size());
  auto packed = std::make_unique<Packed>();
  const WeightOnlyKernels& kernels = best_kernel(kWeightOnlyKernels, isa);
  packed->functions = w.is_narrow ? &kernels.s4 : &kernels.s8;
  packed->gemm = &best_kernel(kGemmF32Kernels, isa);
  packed->n = w.n;
  WeightPanels& panels = packed->panels;
  panels.k = w.k;
  panels.group_size = w.group_size == 0 ? w.k : w.group_size;
  panels.count = divide_up(w.n, kWeightColumns);
  panels.panel_bytes = integers_of(w.k, w.is_narrow);
  const std::size_t groups = divide_up(w.k, panels.group_size);
  panels.panel_scales = groups * kWeightColumns;
  packed->integers = AlignedBuffer<std::uint8_t>(panels.count * panels.panel_bytes);
  packed->scale = AlignedBuffer<float>(panels.count * panels.panel_scales);
  packed->bias = AlignedBuffer<float>(panels.count * kWeightColumns);
  // Columns past the last one are zero: 8 - 8, twice in a byte, where there are 4 bits.
  std::memset(packed->integers.data(), w.is_narrow ? 0x88 : 0, packed->integers.size());
  std::fill_n(packed->scale.data(), packed->scale.size(), 1.0f);
  std::fill_n(packed->bias.data(), packed->bias.size(), 0.0f);
  for (std::size_t n = 0; n < w.n; ++n) {
    const std::size_t panel = n / kWeightColumns, column = n % kWeightColumns;
    pack_column(w, n, packed->integers.data() + panel * panels.panel_bytes + column);
    for (std::size_t g = 0; g < groups; ++g) {
      packed->scale[panel * panels.panel_scales + g * kWeightColumns + column] =
          w.scale[g * w.scale_group_stride + n * w.scale_n_stride];
    }
    if (!bias.empty()) packed->bias[n] = bias[n];
  }
  panels.integers = packed->integers.data();
  panels.scale = packed->scale.data();
  packed_ = std::move(packed);
}

WeightOnly::~WeightOnly() = default;
WeightOnly::WeightOnly(WeightOnly&&) noexcept = default;
WeightOnly& WeightOnly::operator=(WeightOnly&&) noexcept = default;

std::size_t WeightOnly::scratch_bytes(std::size_t rows, std::size_t num_threads) const {
  return num_threads * packed_->worker_bytes(rows);
}

void WeightOnly::run(Context& context, std::size_t rows, const float* x, float lo, float hi, float* y,
                     std::byte* scratch) const {
  if (rows == 0) return;
  const Packed& packed = *packed_;
  const std::size_t worker_bytes = packed.worker_bytes(rows), count = packed.panels.count;
  const bool is_direct = packed.multiplies_integers(rows);
  const std::size_t most = is_direct ? kTaskPanels : packed.float_panels();
  context.pool().run(divide_up(count, most), [&](std::size_t task, std::size_t worker) {
    const std::size_t first = task * most, here = std::min(most, count - first);
    auto* const floats = reinterpret_cast<float*>(scratch + worker * worker_bytes);
    if (!is_direct) return packed.run_many(rows, first, here, x, lo, hi, y, floats);
    for (std::size_t m = 0; m < rows; m += kWeightRows) {
      packed.run_few(std::min(kWeightRows, rows - m), first, here, x + m * packed.panels.k, lo, hi,
                     y + m * packed.n, floats);
    }
  });
}

const char* WeightOnly::kernel_name() const noexcept { return packed_->functions->name; }

std::size_t WeightOnly::packed_bytes() const noexcept {
  return packed_->integers.size() + 4 * (packed_->scale.size() + packed_->bias.size());
}

}  // namespace qslim
