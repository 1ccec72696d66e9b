// SPDX-License-Identifier: Apache-2.0
//
// Paddle Lite's mobilenetv1_light_api on this engine: runs a model and prints every hundredth output.
//
//   light_api --model_dir=DIRECTORY_OR_FILE [options]
//   light_api FILE.qslim [IMAGE] [options]
//
// Each option is --name=value or --name value. The input is IMAGE, raw float32 values in the order of the model
// or a picture (picture.h), or else ones. Extents that the model leaves open are 1 (the batch) and 224, or as
// --shape says. Exit codes: 1 the model or the image will not do, 2 the command line will not.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

#include "picture.h"
#include "qslim/runtime/session.h"

namespace {

using qslim::DType;
using qslim::runtime::Dims;
using qslim::runtime::Session;

constexpr const char* kUsage =
    "usage: light_api --model_dir=DIRECTORY_OR_FILE [options]\n"
    "       light_api FILE.qslim [IMAGE] [options]\n"
    "\n"
    "Runs the model on IMAGE (raw float32, or a PNG or JPEG picture) or on ones, and prints every 100th "
    "output.\n"
    "Each option is --name=value or --name value.\n"
    "\n"
    "  --image=FILE     the same as IMAGE\n"
    "  --mean=R,G,B     of pictures: taken off pixels in [0, 1] (0)\n"
    "  --std=R,G,B      of pictures: divides what is left (1)\n"
    "  --shape=N,C,H,W  extents of the input; what a model leaves open is 1 and 224 otherwise\n"
    "  --threads=N      threads to run on (1)\n"
    "  --repeats=N      also time N runs and print the median\n"
    "  --warmup=N       runs before those that are timed (1)\n";

struct UsageError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Command {
  std::string model, image;
  Dims shape;
  PictureFormat format;
  std::size_t threads = 1, repeats = 0, warmup = 1;
};

std::int64_t number(const std::string& text, const char* option, std::int64_t least, std::int64_t most) {
  char* end = nullptr;
  const long long value = std::strtoll(text.c_str(), &end, 10);
  if (text.empty() || *end != '\0' || value < least || value > most) {
    throw UsageError(std::string(option) + ": expected a number from " + std::to_string(least) + " to " +
                     std::to_string(most) + ", got '" + text + "'");
  }
  return value;
}

Dims extents(const std::string& text) {
  Dims shape;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    shape.push_back(number(text.substr(begin, end - begin), "--shape", 1, 1 << 24));
    begin = end + 1;
  }
  return shape;
}

std::vector<float> numbers(const std::string& text, const char* option) {
  std::vector<float> values;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    const std::string word = text.substr(begin, end - begin);
    char* rest = nullptr;
    values.push_back(std::strtof(word.c_str(), &rest));
    if (word.empty() || *rest != '\0' || !std::isfinite(values.back())) {
      throw UsageError(std::string(option) + ": expected numbers between commas, got '" + text + "'");
    }
    begin = end + 1;
  }
  return values;
}

std::size_t count_in(const std::string& text, const char* option, std::int64_t least, std::int64_t most) {
  return static_cast<std::size_t>(number(text, option, least, most));
}

void set_option(Command& command, const std::string& name, const std::string& value) {
  if (name == "--model_dir") {
    command.model = value;
  } else if (name == "--image") {
    command.image = value;
  } else if (name == "--shape") {
    command.shape = extents(value);
  } else if (name == "--mean") {
    command.format.mean = numbers(value, "--mean");
  } else if (name == "--std") {
    command.format.std = numbers(value, "--std");
    if (std::count(command.format.std.begin(), command.format.std.end(), 0.0f) != 0) {
      throw UsageError("--std: expected numbers other than 0, got '" + value + "'");
    }
  } else if (name == "--threads") {
    command.threads = count_in(value, "--threads", 1, 1024);
  } else if (name == "--warmup") {
    command.warmup = count_in(value, "--warmup", 0, 1000000);
  } else {
    command.repeats = count_in(value, "--repeats", 0, 1000000);
  }
}

constexpr const char* kOptions[] = {"--model_dir", "--image",  "--shape",   "--mean",  "--std",
                                    "--threads",   "--warmup", "--repeats", "--repeat"};

Command parse(int argc, char** argv) {
  Command command;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (!argument.empty() && argument[0] == '-') {
      const std::size_t equals = argument.find('=');
      const std::string name = argument.substr(0, equals);
      if (std::find(std::begin(kOptions), std::end(kOptions), name) == std::end(kOptions)) {
        throw UsageError("unknown option '" + argument + "'");
      }
      if (equals == std::string::npos && i + 1 == argc) throw UsageError(name + ": expected a value");
      set_option(command, name, equals == std::string::npos ? argv[++i] : argument.substr(equals + 1));
    } else if (command.model.empty()) {
      command.model = argument;
    } else if (command.image.empty()) {
      command.image = argument;
    } else {
      throw UsageError("one argument too many: '" + argument + "'");
    }
  }
  if (command.model.empty()) throw UsageError("no model is named");
  return command;
}

// The file itself, or the only *.qslim of a directory.
std::string model_file(const std::string& path) {
  if (!std::filesystem::is_directory(path)) return path;
  std::string found;
  for (const auto& entry : std::filesystem::directory_iterator(path)) {
    if (entry.path().extension() != ".qslim") continue;
    if (!found.empty())
      throw std::runtime_error("'" + path + "' holds several *.qslim files: name one of them");
    found = entry.path().string();
  }
  if (found.empty()) throw std::runtime_error("'" + path + "' holds no *.qslim file");
  return found;
}

Dims extents_of(const Session::Signature& input, const Command& command) {
  if (!command.shape.empty()) return command.shape;
  if (!input.shape)
    throw std::runtime_error("the model leaves the shape of '" + input.name + "' open: use --shape");
  Dims dims = *input.shape;
  for (std::size_t i = 0; i < dims.size(); ++i) {
    if (dims[i] == qslim::runtime::kUnknownExtent) dims[i] = i == 0 ? 1 : 224;
  }
  return dims;
}

std::size_t count_of(const Dims& dims) {
  std::size_t count = 1;
  for (const std::int64_t extent : dims) count *= static_cast<std::size_t>(extent);
  return count;
}

template <class T>
std::vector<std::byte> ones(std::size_t count) {
  const std::vector<T> values(count, T{1});
  std::vector<std::byte> bytes(count * sizeof(T));
  if (count != 0) std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

std::vector<std::byte> ones_of(DType dtype, std::size_t count) {
  switch (dtype) {
    case DType::kFloat32: return ones<float>(count);
    case DType::kInt32: return ones<std::int32_t>(count);
    case DType::kInt64: return ones<std::int64_t>(count);
    default: return ones<std::uint8_t>(count);
  }
}

void refuse_arrays_of_numpy(const std::string& path, std::ifstream& file) {
  char head[6] = {};
  file.seekg(0);
  file.read(head, sizeof head);
  file.clear();
  if (std::memcmp(head, "\x93NUMPY", sizeof head) != 0) return;
  throw std::runtime_error(
      "image '" + path +
      "' is an array file of NumPy, and raw float32 values are expected: 'qslim run MODEL " +
      "--data ...' reads it, or write array.astype('float32').tofile('image.bin') in Python");
}

std::vector<std::byte> bytes_of(const std::vector<float>& values) {
  std::vector<std::byte> bytes(values.size() * sizeof(float));
  if (!bytes.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

std::vector<std::byte> read_picture_of(const Command& command, const Dims& dims) {
  if (dims.size() != 4 || dims[0] != 1) {
    throw std::runtime_error("image '" + command.image + "' is a picture, and the input is no [1, C, H, W]");
  }
  PictureFormat format = command.format;
  format.channels = static_cast<std::size_t>(dims[1]);
  format.height = static_cast<std::size_t>(dims[2]), format.width = static_cast<std::size_t>(dims[3]);
  for (const auto& values : {format.mean, format.std}) {
    if (values.size() != 1 && values.size() != format.channels) {
      throw UsageError("--mean and --std: expected 1 or " + std::to_string(format.channels) +
                       " numbers, got " + std::to_string(values.size()));
    }
  }
  return bytes_of(read_picture(command.image, format));
}

std::vector<std::byte> read_image(const std::string& path, std::size_t count) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) throw std::runtime_error("cannot open image '" + path + "'");
  const auto size = static_cast<std::size_t>(file.tellg());
  refuse_arrays_of_numpy(path, file);
  if (size != count * sizeof(float)) {
    throw std::runtime_error("image '" + path + "' has " + std::to_string(size) + " bytes, the model takes " +
                             std::to_string(count) + " float32 values, " +
                             std::to_string(count * sizeof(float)) + " bytes");
  }
  std::vector<std::byte> bytes(size);
  file.seekg(0);
  if (!file.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(size))) {
    throw std::runtime_error("cannot read image '" + path + "'");
  }
  return bytes;
}

template <class T>
double element(const std::vector<std::byte>& bytes, std::size_t i) {
  T value;
  std::memcpy(&value, bytes.data() + i * sizeof(T), sizeof(T));
  return static_cast<double>(value);
}

double element_of(DType dtype, const std::vector<std::byte>& bytes, std::size_t i) {
  switch (dtype) {
    case DType::kFloat32: return element<float>(bytes, i);
    case DType::kInt8: return element<std::int8_t>(bytes, i);
    case DType::kInt32: return element<std::int32_t>(bytes, i);
    case DType::kInt64: return element<std::int64_t>(bytes, i);
    default: return element<std::uint8_t>(bytes, i);
  }
}

void run(const Command& command) {
  Session::Options options;
  options.num_threads = command.threads;
  const Session session = Session::open(model_file(command.model), options);

  std::vector<Dims> dims;
  std::vector<std::vector<std::byte>> arrays;
  std::vector<Session::Input> inputs;
  for (const Session::Signature& input : session.inputs()) {
    dims.push_back(extents_of(input, command));
    const std::size_t count = count_of(dims.back());
    const bool is_image = arrays.empty() && !command.image.empty();
    if (is_image && input.dtype != DType::kFloat32) {
      throw std::runtime_error("input '" + input.name + "' is not float32, which an image is");
    }
    if (!is_image) {
      arrays.push_back(ones_of(input.dtype, count));
    } else if (is_picture(command.image)) {
      arrays.push_back(read_picture_of(command, dims.back()));
    } else {
      arrays.push_back(read_image(command.image, count));
    }
  }
  for (std::size_t i = 0; i < dims.size(); ++i) inputs.push_back({arrays[i].data(), dims[i]});

  const std::vector<Session::OutputSpec> specs = session.output_specs(dims);
  std::vector<std::vector<std::byte>> outputs;
  std::vector<void*> targets;
  for (const Session::OutputSpec& spec : specs) {
    outputs.emplace_back(count_of(spec.dims) * size_of(spec.dtype));
    targets.push_back(outputs.back().data());
  }
  session.run(inputs, targets);

  const std::size_t count = count_of(specs[0].dims);
  std::printf("Output dim: %zu\n", count);
  for (std::size_t i = 0; i < count; i += 100) {
    std::printf("Output[%zu]: %f\n", i, element_of(specs[0].dtype, outputs[0], i));
  }
  if (command.repeats == 0) return;
  for (std::size_t i = 0; i < command.warmup; ++i) session.run(inputs, targets);
  std::vector<double> milliseconds;
  for (std::size_t i = 0; i < command.repeats; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    session.run(inputs, targets);
    milliseconds.push_back(
        std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count());
  }
  std::nth_element(milliseconds.begin(),
                   milliseconds.begin() + static_cast<std::ptrdiff_t>(milliseconds.size() / 2),
                   milliseconds.end());
  std::printf("Median time: %.3f ms (%zu runs, %zu threads, %s)\n", milliseconds[milliseconds.size() / 2],
              command.repeats, command.threads, qslim::name_of(session.isa()));
}

}  // namespace

int main(int argc, char** argv) {
  try {
    if (argc == 2 && (std::strcmp(argv[1], "--help") == 0 || std::strcmp(argv[1], "-h") == 0)) {
      std::fputs(kUsage, stdout);
      return 0;
    }
    run(parse(argc, argv));
    return 0;
  } catch (const UsageError& error) {
    std::fprintf(stderr, "light_api: %s\n\n%s", error.what(), kUsage);
    return 2;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "light_api: %s\n", error.what());
    return 1;
  }
}
