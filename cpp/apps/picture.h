// SPDX-License-Identifier: Apache-2.0
//
// Pictures for light_api: PNG and JPEG files become the floats that a network reads. Decoded and resized by stb
// (public domain), where its headers were there when this was built.
#pragma once

#include <string>
#include <vector>

struct PictureFormat {
  std::size_t channels = 3, height = 0, width = 0;  // of the network's input
  // y = (x - mean) / std with x in [0, 1], one of each for every channel, or one for all.
  std::vector<float> mean = {0.0f}, std = {1.0f};
};

// Return true if the file begins like a PNG or a JPEG.
bool is_picture(const std::string& path);

// Return [channels, height, width], of 3 channels in the order red, green, blue; the picture is resized. Throws
// std::runtime_error with a sentence.
std::vector<float> read_picture(const std::string& path, const PictureFormat& format);
