// SPDX-License-Identifier: Apache-2.0
//
// Pooling: which pixels each window holds, in which order, and on which thread. A task is a run of output
// rows, or of channels where there are few rows.
#include "qslim/kernels/pool/pool.h"

#include <algorithm>
#include <limits>

#include "qslim/core/dispatch.h"
#include "qslim/kernels/pool/table.h"

namespace qslim {
namespace {

constexpr std::size_t kChannelBlock = 256;    // accumulators of one block: 1 KB
constexpr std::size_t kTaskReads = 64 << 10;  // bytes, roughly

// The kernel positions whose pixels lie inside one axis of the image: [first, first + count).
struct Inside {
  std::size_t first, count;
  std::ptrdiff_t pixel;  // of the first
};

Inside inside_of(std::size_t out, std::size_t kernel, std::size_t stride, std::size_t dilation,
                 std::ptrdiff_t pad, std::size_t in) noexcept {
  const std::ptrdiff_t start = static_cast<std::ptrdiff_t>(out * stride) - pad;
  const std::ptrdiff_t step = static_cast<std::ptrdiff_t>(dilation), last = static_cast<std::ptrdiff_t>(in);
  const std::ptrdiff_t first = start >= 0 ? 0 : (-start + step - 1) / step;
  const std::ptrdiff_t end =
      std::min(static_cast<std::ptrdiff_t>(kernel), start >= last ? 0 : (last - start + step - 1) / step);
  if (end <= first) return {0, 0, 0};
  return {static_cast<std::size_t>(first), static_cast<std::size_t>(end - first), start + first * step};
}

// Walks over the pixels of one window, up to kPoolTaps at a time.
template <class T>
class Window {
 public:
  Window(const PoolGeometry& g, const PoolExtents& e, const T* image, std::size_t oh, std::size_t ow) noexcept
      : rows_(inside_of(oh, g.kernel_h, g.stride_h, g.dilation_h, e.pad_top, e.in_h)),
        columns_(inside_of(ow, g.kernel_w, g.stride_w, g.dilation_w, e.pad_left, e.in_w)),
        row_step_(static_cast<std::ptrdiff_t>(g.dilation_h * e.in_w * e.x_pixel_stride)),
        column_step_(static_cast<std::ptrdiff_t>(g.dilation_w * e.x_pixel_stride)) {
    if (size() == 0) {
      rows_.count = 0;  // next() counts rows, which may be there where columns are not
      return;
    }
    row_ = image + (rows_.pixel * static_cast<std::ptrdiff_t>(e.in_w) + columns_.pixel) *
                       static_cast<std::ptrdiff_t>(e.x_pixel_stride);
  }
  std::size_t size() const noexcept { return rows_.count * columns_.count; }

  std::size_t next(const T** taps) noexcept {
    std::size_t count = 0;
    while (count < kPoolTaps && kh_ < rows_.count) {
      taps[count++] = row_ + static_cast<std::ptrdiff_t>(kw_) * column_step_;
      if (++kw_ == columns_.count) {
        kw_ = 0;
        ++kh_;
        if (kh_ < rows_.count) row_ += row_step_;
      }
    }
    return count;
  }

 private:
  Inside rows_, columns_;
  std::ptrdiff_t row_step_, column_step_;
  const T* row_ = nullptr;
  std::size_t kh_ = 0, kw_ = 0;
};

void check(const char* name, const PoolGeometry& g, const PoolExtents& e) {
  QSLIM_REQUIRE(g.kernel_h > 0 && g.kernel_w > 0 && g.stride_h > 0 && g.stride_w > 0 && g.dilation_h > 0 &&
                    g.dilation_w > 0,
                name, ": kernel, stride and dilation must be at least 1");
  QSLIM_REQUIRE(e.x_pixel_stride >= g.channels && e.y_pixel_stride >= g.channels, name,
                ": pixel strides must be at least ", g.channels, ", got ", e.x_pixel_stride, " and ",
                e.y_pixel_stride);
}

// Calls body(image, oh, first channel, channels).
template <class Body>
void for_each_row(Context& context, const PoolGeometry& g, const PoolExtents& e, std::size_t element_size,
                  const Body& body) {
  const std::size_t rows = e.batch * e.out_h, threads = context.pool().num_threads();
  if (rows == 0 || e.out_w == 0 || g.channels == 0) return;
  const std::size_t window = std::min(g.kernel_h, e.in_h) * std::min(g.kernel_w, e.in_w);
  const std::size_t row_reads = e.out_w * g.channels * window * element_size;
  if (threads == 1 || rows * row_reads <= 2 * kTaskReads) {
    for (std::size_t r = 0; r < rows; ++r) body(r / e.out_h, r % e.out_h, 0, g.channels);
  } else if (rows >= 4 * threads) {
    const std::size_t per_task = std::max<std::size_t>(kTaskReads / row_reads, 1);
    context.pool().for_each_block(rows, per_task, [&](Block block) {
      for (std::size_t r = block.begin; r < block.begin + block.size; ++r)
        body(r / e.out_h, r % e.out_h, 0, g.channels);
    });
  } else {
    constexpr std::size_t kPiece = 64;  // a cache line of u8
    const std::size_t pieces = (g.channels + kPiece - 1) / kPiece;
    const std::size_t per_task = std::max<std::size_t>(pieces / (4 * threads), 1);
    const std::size_t step = per_task * kPiece, tasks = (g.channels + step - 1) / step;
    context.pool().run(rows * tasks, [&](std::size_t i) {
      const std::size_t r = i / tasks, first = i % tasks * step;
      body(r / e.out_h, r % e.out_h, first, std::min(step, g.channels - first));
    });
  }
}

template <class T>
void max_pool_as(Context& context, const PoolGeometry& g, const PoolExtents& e, const T* x, T* y, T lowest,
                 PoolMaxFn<T> kernel) {
  check("max_pool", g, e);
  const std::size_t image_size = e.in_h * e.in_w * e.x_pixel_stride;
  for_each_row(context, g, e, sizeof(T),
               [&](std::size_t n, std::size_t oh, std::size_t channel, std::size_t channels) {
                 T* row = y + n * e.y_image_stride + oh * e.y_row_stride + channel;
                 for (std::size_t ow = 0; ow < e.out_w; ++ow, row += e.y_pixel_stride) {
                   Window<T> window(g, e, x + n * image_size + channel, oh, ow);
                   if (window.size() == 0) std::fill_n(row, channels, lowest);
                   const T* taps[kPoolTaps];
                   bool merge = false;
                   for (std::size_t count = window.next(taps); count > 0; count = window.next(taps)) {
                     const std::size_t padded = count <= 4 ? 4 : kPoolTaps;
                     std::fill(taps + count, taps + padded, taps[0]);
                     kernel(channels, padded, taps, merge, row);
                     merge = true;
                   }
                 }
               });
}

// finish(n, sums, pixels inside, y offset) takes the sums of a block of channels.
template <class T, class Sum, class Finish>
void average(Context& context, const PoolGeometry& g, const PoolExtents& e, const T* x,
             PoolSumFn<T, Sum> kernel, const Finish& finish) {
  check("average_pool", g, e);
  const std::size_t image_size = e.in_h * e.in_w * e.x_pixel_stride;
  for_each_row(context, g, e, sizeof(T),
               [&](std::size_t n, std::size_t oh, std::size_t first, std::size_t channels) {
                 alignas(64) Sum acc[kChannelBlock];
                 for (std::size_t ow = 0; ow < e.out_w; ++ow) {
                   const std::size_t at = n * e.y_image_stride + oh * e.y_row_stride + ow * e.y_pixel_stride;
                   for (std::size_t c = 0; c < channels; c += kChannelBlock) {
                     const std::size_t count = std::min(kChannelBlock, channels - c);
                     Window<T> window(g, e, x + n * image_size + first + c, oh, ow);
                     std::fill_n(acc, count, Sum{0});
                     const T* taps[kPoolTaps];
                     for (std::size_t used = window.next(taps); used > 0; used = window.next(taps))
                       kernel(count, used, taps, acc);
                     finish(count, acc, window.size(), at + first + c);
                   }
                 }
               });
}

// By what the sum is divided.
std::size_t divisor(const PoolGeometry& g, std::size_t inside) {
  return g.count_includes_pad ? g.kernel_h * g.kernel_w : std::max<std::size_t>(inside, 1);
}

void check_scale(const QParams& params) {
  QSLIM_REQUIRE(params.scale >= kMinScale && params.scale <= kMaxScale,
                "average_pool: scale must be finite and > 0, got ", params.scale);
}

}  // namespace

PoolExtents contiguous_pool_extents(const PoolGeometry& geometry, std::size_t batch, std::size_t in_h,
                                    std::size_t in_w, std::size_t out_h, std::size_t out_w,
                                    std::ptrdiff_t pad_top, std::ptrdiff_t pad_left) {
  PoolExtents e;
  e.batch = batch;
  e.in_h = in_h, e.in_w = in_w, e.out_h = out_h, e.out_w = out_w;
  e.pad_top = pad_top, e.pad_left = pad_left;
  e.x_pixel_stride = e.y_pixel_stride = geometry.channels;
  e.y_row_stride = out_w * geometry.channels;
  e.y_image_stride = out_h * e.y_row_stride;
  return e;
}

void max_pool(Context& context, const PoolGeometry& geometry, const PoolExtents& extents,
              const std::uint8_t* x, std::uint8_t* y) {
  max_pool_as<std::uint8_t>(context, geometry, extents, x, y, 0,
                            best_kernel(kPoolKernels, context.isa()).max_u8);
}

void max_pool(Context& context, const PoolGeometry& geometry, const PoolExtents& extents, const float* x,
              float* y) {
  max_pool_as<float>(context, geometry, extents, x, y, -std::numeric_limits<float>::infinity(),
                     best_kernel(kPoolKernels, context.isa()).max_f32);
}

void average_pool(Context& context, const PoolGeometry& geometry, const PoolExtents& extents, const float* x,
                  float* y) {
  const PoolKernels& kernels = best_kernel(kPoolKernels, context.isa());
  average(context, geometry, extents, x, kernels.sum_f32,
          [&](std::size_t n, const float* acc, std::size_t inside, std::size_t at) {
            kernels.divide(n, acc, static_cast<float>(divisor(geometry, inside)), y + at);
          });
}

void average_pool(Context& context, const PoolGeometry& geometry, const PoolExtents& extents,
                  const std::uint8_t* x, const QParams& x_params, float* y) {
  check_scale(x_params);
  const PoolKernels& kernels = best_kernel(kPoolKernels, context.isa());
  average(context, geometry, extents, x, kernels.sum_u8,
          [&](std::size_t n, const std::int32_t* acc, std::size_t inside, std::size_t at) {
            kernels.scale(n, acc, x_params.zero_point * static_cast<std::int32_t>(inside),
                          x_params.scale / static_cast<float>(divisor(geometry, inside)), y + at);
          });
}

void average_pool(Context& context, const PoolGeometry& geometry, const PoolExtents& extents,
                  const std::uint8_t* x, const QParams& x_params, std::uint8_t* y, const QParams& y_params) {
  check_scale(x_params);
  check_scale(y_params);
  QSLIM_REQUIRE(y_params.qmin >= 0 && y_params.qmin <= y_params.qmax && y_params.qmax <= 255,
                "average_pool: [qmin, qmax] must lie in [0, 255], got [", y_params.qmin, ", ", y_params.qmax,
                "]");
  const PoolKernels& kernels = best_kernel(kPoolKernels, context.isa());
  const float inv_scale = 1.0f / y_params.scale, lo = static_cast<float>(y_params.qmin - y_params.zero_point);
  const float hi = static_cast<float>(y_params.qmax - y_params.zero_point);
  const float zero_point = static_cast<float>(y_params.zero_point);
  const ChannelParams channel{&y_params.scale, &inv_scale, &lo, &hi, &zero_point};
  average(context, geometry, extents, x, kernels.sum_u8,
          [&](std::size_t n, const std::int32_t* acc, std::size_t inside, std::size_t at) {
            alignas(64) float r[kChannelBlock];
            kernels.scale(n, acc, x_params.zero_point * static_cast<std::int32_t>(inside),
                          x_params.scale / static_cast<float>(divisor(geometry, inside)), r);
            kernels.quantize(1, n, r, channel, Rounding::kTiesToEven, y + at);
          });
}

}  // namespace qslim
