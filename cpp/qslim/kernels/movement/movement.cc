// SPDX-License-Identifier: Apache-2.0
//
// A copy's axes are ordered by their destination strides and merged. What is left innermost decides how it
// runs: lines that are contiguous on both sides go through memcpy, a pair of axes that are contiguous on one
// side each through the transposition kernels, and the rest element by element.
#include "qslim/kernels/movement/movement.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "qslim/core/dispatch.h"
#include "qslim/kernels/movement/table.h"

namespace qslim {
namespace {

constexpr std::size_t kAxes = CopyExtents::kAxes;
constexpr std::size_t kTaskBytes = 64 << 10;

struct Axis {
  std::size_t extent = 1;
  std::ptrdiff_t source = 0, destination = 0;
};

std::ptrdiff_t distance(std::ptrdiff_t stride) { return stride < 0 ? -stride : stride; }

// Axes of extent 1 removed, the rest ordered from the outermost in and merged; returns how many are left.
std::size_t order_axes(const CopyExtents& extents, bool source_matters, Axis* axes) {
  std::size_t count = 0;
  for (std::size_t i = 0; i < kAxes; ++i) {
    if (extents.extent[i] == 1) continue;
    axes[count++] = {extents.extent[i], source_matters ? extents.source_strides[i] : 0,
                     extents.destination_strides[i]};
  }
  // By insertion: std::stable_sort allocates.
  for (std::size_t i = 1; i < count; ++i) {
    for (std::size_t j = i; j > 0 && distance(axes[j].destination) > distance(axes[j - 1].destination); --j) {
      std::swap(axes[j], axes[j - 1]);
    }
  }
  std::size_t merged = 0;
  for (std::size_t i = 0; i < count; ++i) {
    Axis* const outer = merged > 0 ? axes + merged - 1 : nullptr;
    const std::ptrdiff_t extent = static_cast<std::ptrdiff_t>(axes[i].extent);
    if (outer != nullptr && outer->destination == axes[i].destination * extent &&
        (!source_matters || outer->source == axes[i].source * extent)) {
      *outer = {outer->extent * axes[i].extent, axes[i].source, axes[i].destination};
    } else {
      axes[merged++] = axes[i];
    }
  }
  return merged;
}

// Calls body(source offset, destination offset) for every index over `count` axes, [first, first + how_many).
template <class Body>
void for_each_index(const Axis* axes, std::size_t count, std::size_t first, std::size_t how_many,
                    const Body& body) {
  std::size_t index[kAxes];
  std::ptrdiff_t source = 0, destination = 0;
  for (std::size_t axis = count; axis-- > 0; first /= axes[axis].extent) {
    index[axis] = first % axes[axis].extent;
    source += static_cast<std::ptrdiff_t>(index[axis]) * axes[axis].source;
    destination += static_cast<std::ptrdiff_t>(index[axis]) * axes[axis].destination;
  }
  while (how_many-- > 0) {
    body(source, destination);
    for (std::size_t axis = count; axis-- > 0;) {
      source += axes[axis].source;
      destination += axes[axis].destination;
      if (++index[axis] < axes[axis].extent) break;
      index[axis] = 0;
      source -= static_cast<std::ptrdiff_t>(axes[axis].extent) * axes[axis].source;
      destination -= static_cast<std::ptrdiff_t>(axes[axis].extent) * axes[axis].destination;
    }
  }
}

std::size_t product_of(const Axis* axes, std::size_t count) {
  std::size_t product = 1;
  for (std::size_t i = 0; i < count; ++i) product *= axes[i].extent;
  return product;
}

// Runs body(first, count) over blocks of [0, total), several at a time where `bytes` in all make it
// worthwhile.
template <class Body>
void split(Context& context, std::size_t total, std::size_t bytes, const Body& body) {
  if (total == 0) return;
  if (context.pool().num_threads() == 1 || bytes <= 2 * kTaskBytes) {
    body(0, total);
    return;
  }
  const std::size_t per_item = std::max<std::size_t>(bytes / total, 1);
  context.pool().for_each_block(total, std::max<std::size_t>(kTaskBytes / per_item, 1),
                                [&](Block block) { body(block.begin, block.size); });
}

void transpose(const MovementKernels& kernels, std::size_t rows, std::size_t columns, const std::uint32_t* x,
               std::ptrdiff_t x_stride, std::uint32_t* y, std::ptrdiff_t y_stride) {
  kernels.transpose_x4(rows, columns, x, x_stride, y, y_stride);
}
void transpose(const MovementKernels& kernels, std::size_t rows, std::size_t columns, const std::uint8_t* x,
               std::ptrdiff_t x_stride, std::uint8_t* y, std::ptrdiff_t y_stride) {
  kernels.transpose_x1(rows, columns, x, x_stride, y, y_stride);
}
void transpose(const MovementKernels&, std::size_t rows, std::size_t columns, const std::uint64_t* x,
               std::ptrdiff_t x_stride, std::uint64_t* y, std::ptrdiff_t y_stride) {
  for (std::size_t c = 0; c < columns; ++c, ++x, y += y_stride) {
    for (std::size_t r = 0; r < rows; ++r) y[r] = x[static_cast<std::ptrdiff_t>(r) * x_stride];
  }
}

// A line of any length. Short ones in two overlapping pieces: memcpy of an unknown size is a call.
inline void copy_line(const std::byte* from, std::byte* to, std::size_t bytes) {
  const auto in_pieces_of = [&](auto piece) {
    decltype(piece) first, last;
    std::memcpy(&first, from, sizeof piece);
    std::memcpy(&last, from + bytes - sizeof piece, sizeof piece);
    std::memcpy(to, &first, sizeof piece);
    std::memcpy(to + bytes - sizeof piece, &last, sizeof piece);
  };
  struct Piece16 {
    std::uint64_t halves[2];
  };
  if (bytes > 32) {
    std::memcpy(to, from, bytes);
  } else if (bytes >= 16) {
    in_pieces_of(Piece16{});
  } else if (bytes >= 8) {
    in_pieces_of(std::uint64_t{});
  } else if (bytes >= 4) {
    in_pieces_of(std::uint32_t{});
  } else {
    for (std::size_t i = 0; i < bytes; ++i) to[i] = from[i];
  }
}

// Tiles that keep the rows of both sides in the first-level cache.
constexpr std::size_t kTile = 64;

template <class T>
void copy_as(Context& context, const CopyExtents& extents, const T* source, T* destination) {
  Axis axes[kAxes];
  const std::size_t count = order_axes(extents, true, axes);
  const std::size_t total = product_of(axes, count);
  if (total == 0) return;
  if (count == 0) {
    *destination = *source;
    return;
  }
  const Axis inner = axes[count - 1];
  if (inner.destination == 1 && inner.source == 1) {
    // One long line is cut into pieces.
    if (count == 1) {
      split(context, inner.extent, total * sizeof(T), [&](std::size_t first, std::size_t n) {
        std::memcpy(destination + first, source + first, n * sizeof(T));
      });
      return;
    }
    const std::size_t lines = total / inner.extent;
    split(context, lines, total * sizeof(T), [&](std::size_t first, std::size_t n) {
      for_each_index(axes, count - 1, first, n, [&](std::ptrdiff_t from, std::ptrdiff_t to) {
        copy_line(reinterpret_cast<const std::byte*>(source + from),
                  reinterpret_cast<std::byte*>(destination + to), inner.extent * sizeof(T));
      });
    });
    return;
  }
  const auto line = std::find_if(axes, axes + count - 1, [](const Axis& axis) { return axis.source == 1; });
  if (inner.destination == 1 && line != axes + count - 1) {
    // rows run along the destination, columns along the source.
    const Axis columns = *line;
    std::copy(line + 1, axes + count, line);
    const MovementKernels& kernels = best_kernel(kMovementKernels, context.isa());
    const std::size_t row_tiles = (inner.extent + kTile - 1) / kTile;
    const std::size_t column_tiles = (columns.extent + kTile - 1) / kTile;
    const std::size_t tiles = row_tiles * column_tiles, outer = total / (inner.extent * columns.extent);
    split(context, outer * tiles, total * sizeof(T), [&](std::size_t first, std::size_t n) {
      for (std::size_t i = first; i < first + n; ++i) {
        const std::size_t row = i % tiles / column_tiles * kTile, column = i % column_tiles * kTile;
        const std::ptrdiff_t r = static_cast<std::ptrdiff_t>(row), c = static_cast<std::ptrdiff_t>(column);
        for_each_index(axes, count - 2, i / tiles, 1, [&](std::ptrdiff_t from, std::ptrdiff_t to) {
          transpose(kernels, std::min(kTile, inner.extent - row), std::min(kTile, columns.extent - column),
                    source + from + r * inner.source + c, inner.source,
                    destination + to + c * columns.destination + r, columns.destination);
        });
      }
    });
    return;
  }
  const std::size_t lines = total / inner.extent;
  split(context, lines, total * sizeof(T), [&](std::size_t first, std::size_t n) {
    for_each_index(axes, count - 1, first, n, [&](std::ptrdiff_t from, std::ptrdiff_t to) {
      const T* x = source + from;
      T* y = destination + to;
      for (std::size_t i = 0; i < inner.extent; ++i, x += inner.source, y += inner.destination) *y = *x;
    });
  });
}

template <class T>
void fill_as(Context& context, const CopyExtents& extents, const void* value, T* destination) {
  T element;
  std::memcpy(&element, value, sizeof element);
  Axis axes[kAxes];
  const std::size_t count = order_axes(extents, false, axes);
  const std::size_t total = product_of(axes, count);
  if (total == 0) return;
  const Axis inner = count > 0 ? axes[count - 1] : Axis{1, 0, 1};
  const std::size_t lines = total / inner.extent;
  split(context, lines, total * sizeof(T), [&](std::size_t first, std::size_t n) {
    for_each_index(axes, count > 0 ? count - 1 : 0, first, n, [&](std::ptrdiff_t, std::ptrdiff_t to) {
      if (inner.destination == 1) {
        std::fill_n(destination + to, inner.extent, element);
      } else {
        T* y = destination + to;
        for (std::size_t i = 0; i < inner.extent; ++i, y += inner.destination) *y = element;
      }
    });
  });
}

// Pixels and channels of one tile: 16 KB of bytes at most, in the first-level cache with the floats beside
// it.
constexpr std::size_t kTilePixels = 256, kTileChannels = 32;

struct OneChannel {
  explicit OneChannel(const QParams& p)
      : scale(p.scale),
        inv_scale(1.0f / p.scale),
        lo(static_cast<float>(p.qmin - p.zero_point)),
        hi(static_cast<float>(p.qmax - p.zero_point)),
        zero_point(static_cast<float>(p.zero_point)) {}
  ChannelParams params() const { return {&scale, &inv_scale, &lo, &hi, &zero_point}; }
  float scale, inv_scale, lo, hi, zero_point;
};

void check_image(const char* name, const ImageExtents& extents, const QParams& params) {
  QSLIM_REQUIRE(extents.pixel_stride >= extents.channels, name, ": pixel_stride must be at least ",
                extents.channels, ", got ", extents.pixel_stride);
  QSLIM_REQUIRE(params.scale >= kMinScale && params.scale <= kMaxScale, name,
                ": scale must be finite and > 0, got ", params.scale);
  QSLIM_REQUIRE(params.qmin >= 0 && params.qmin <= params.qmax && params.qmax <= 255, name,
                ": [qmin, qmax] must lie in [0, 255], got [", params.qmin, ", ", params.qmax, "]");
}

}  // namespace

void strided_copy(Context& context, std::size_t element_size, const CopyExtents& extents, const void* source,
                  void* destination) {
  switch (element_size) {
    case 1:
      return copy_as(context, extents, static_cast<const std::uint8_t*>(source),
                     static_cast<std::uint8_t*>(destination));
    case 4:
      return copy_as(context, extents, static_cast<const std::uint32_t*>(source),
                     static_cast<std::uint32_t*>(destination));
    case 8:
      return copy_as(context, extents, static_cast<const std::uint64_t*>(source),
                     static_cast<std::uint64_t*>(destination));
    default: QSLIM_REQUIRE(false, "strided_copy: element_size must be 1, 4 or 8, got ", element_size);
  }
}

void strided_fill(Context& context, std::size_t element_size, const CopyExtents& extents, const void* value,
                  void* destination) {
  switch (element_size) {
    case 1: return fill_as(context, extents, value, static_cast<std::uint8_t*>(destination));
    case 4: return fill_as(context, extents, value, static_cast<std::uint32_t*>(destination));
    case 8: return fill_as(context, extents, value, static_cast<std::uint64_t*>(destination));
    default: QSLIM_REQUIRE(false, "strided_fill: element_size must be 1, 4 or 8, got ", element_size);
  }
}

void gather(Context& context, std::size_t element_size, std::size_t outer, std::size_t axis,
            std::size_t inner, const void* source, Span<const std::int64_t> indices, void* destination) {
  const std::int64_t extent = static_cast<std::int64_t>(axis);
  for (const std::int64_t index : indices) {
    QSLIM_REQUIRE(index >= -extent && index < extent, "gather: indices must lie in [", -extent, ", ", extent,
                  "), got ", index);
  }
  const std::size_t bytes = inner * element_size, lines = outer * indices.size();
  split(context, lines, lines * bytes, [&](std::size_t first, std::size_t n) {
    for (std::size_t i = first; i < first + n; ++i) {
      const std::int64_t index = indices[i % indices.size()];
      const std::size_t from =
          i / indices.size() * axis + static_cast<std::size_t>(index < 0 ? index + extent : index);
      std::memcpy(static_cast<std::byte*>(destination) + i * bytes,
                  static_cast<const std::byte*>(source) + from * bytes, bytes);
    }
  });
}

void nchw_f32_to_nhwc_u8(Context& context, const ImageExtents& extents, const float* x, const QParams& params,
                         std::uint8_t* y) {
  check_image("nchw_f32_to_nhwc_u8", extents, params);
  const OneChannel quantizer(params);
  const MovementKernels& kernels = best_kernel(kMovementKernels, context.isa());
  const std::size_t tiles = (extents.pixels + kTilePixels - 1) / kTilePixels;
  const std::size_t bytes = extents.batch * extents.pixels * extents.channels * sizeof(float);
  split(context, extents.batch * tiles, bytes, [&](std::size_t first, std::size_t n) {
    alignas(64) std::uint8_t planes[kTileChannels * kTilePixels];
    for (std::size_t tile = first; tile < first + n; ++tile) {
      const std::size_t image = tile / tiles, pixel = tile % tiles * kTilePixels;
      const std::size_t pixels = std::min(kTilePixels, extents.pixels - pixel);
      const float* const from = x + image * extents.channels * extents.pixels + pixel;
      std::uint8_t* const to = y + (image * extents.pixels + pixel) * extents.pixel_stride;
      for (std::size_t channel = 0; channel < extents.channels; channel += kTileChannels) {
        const std::size_t channels = std::min(kTileChannels, extents.channels - channel);
        const bool is_grey = extents.pixel_stride == 1;
        for (std::size_t c = 0; c < channels; ++c) {
          kernels.quantize(1, pixels, from + (channel + c) * extents.pixels, quantizer.params(),
                           Rounding::kTiesToEven, is_grey ? to : planes + c * kTilePixels);
        }
        if (is_grey) continue;
        if (extents.pixel_stride == 3 && channels == 3) {
          kernels.interleave3(pixels, planes, kTilePixels, to);
        } else {
          kernels.transpose_x1(channels, pixels, planes, kTilePixels, to + channel,
                               static_cast<std::ptrdiff_t>(extents.pixel_stride));
        }
      }
    }
  });
}

}  // namespace qslim
