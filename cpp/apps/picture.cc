// SPDX-License-Identifier: Apache-2.0
#include "picture.h"

#include <cstring>
#include <fstream>
#include <memory>
#include <stdexcept>

#ifdef QSLIM_HAS_STB
#if defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wunused-parameter"
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#pragma GCC diagnostic ignored "-Wsign-compare"
#pragma GCC diagnostic ignored "-Wcast-qual"
#endif
#define STB_IMAGE_STATIC
#define STB_IMAGE_IMPLEMENTATION
#define STBI_ONLY_PNG
#define STBI_ONLY_JPEG
#include <stb_image.h>
#define STB_IMAGE_RESIZE_STATIC
#define STB_IMAGE_RESIZE_IMPLEMENTATION
#include <stb_image_resize.h>
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif
#endif

bool is_picture(const std::string& path) {
  char head[4] = {};
  std::ifstream(path, std::ios::binary).read(head, sizeof head);
  return std::memcmp(head, "\x89PNG", 4) == 0 || std::memcmp(head, "\xff\xd8\xff", 3) == 0;
}

#ifndef QSLIM_HAS_STB

std::vector<float> read_picture(const std::string& path, const PictureFormat&) {
  throw std::runtime_error(
      "image '" + path +
      "' is a PNG or JPEG file, and this program was built without stb, which reads them: " +
      "'qslim run MODEL --data ...' reads it, or write raw float32 values to a file");
}

#else

std::vector<float> read_picture(const std::string& path, const PictureFormat& format) {
  if (format.channels != 1 && format.channels != 3) {
    throw std::runtime_error("image '" + path + "': the model takes " + std::to_string(format.channels) +
                             " channels, and a picture has 1 or 3");
  }
  const int channels = static_cast<int>(format.channels);
  int width = 0, height = 0, own_channels = 0;
  const std::unique_ptr<stbi_uc, void (*)(void*)> pixels(
      stbi_load(path.c_str(), &width, &height, &own_channels, channels), stbi_image_free);
  if (pixels == nullptr) {
    throw std::runtime_error("image '" + path + "' cannot be read: " + stbi_failure_reason());
  }
  std::vector<stbi_uc> resized(format.channels * format.height * format.width);
  if (stbir_resize_uint8(pixels.get(), width, height, 0, resized.data(), static_cast<int>(format.width),
                         static_cast<int>(format.height), 0, channels) == 0) {
    throw std::runtime_error("image '" + path + "': there is not enough memory to resize it");
  }
  std::vector<float> values(resized.size());
  const std::size_t plane = format.height * format.width;
  for (std::size_t c = 0; c < format.channels; ++c) {
    const float mean = format.mean[format.mean.size() == 1 ? 0 : c];
    const float std = format.std[format.std.size() == 1 ? 0 : c];
    for (std::size_t i = 0; i < plane; ++i) {
      const float x = static_cast<float>(resized[i * format.channels + c]) / 255.0f;
      values[c * plane + i] = (x - mean) / std;
    }
  }
  return values;
}

#endif
