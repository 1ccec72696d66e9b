// SPDX-License-Identifier: Apache-2.0
//
// Session: a model, ready to run.
//
//   const Session session = Session::open("model.qslim");
//   const std::vector<Session::Input> inputs = {{image.data(), {1, 3, 224, 224}}};
//   std::vector<float> scores(1000);
//   session.run(inputs, std::vector<void*>{scores.data()});
//
// Extents may differ from call to call where the model leaves them open. What depends on extents (memory, the
// order of steps) is prepared at the first call with them and kept for the last few; weights are packed once.
// Where images do not meet in the network, a batch runs image by image, several of them at once if there are
// threads: a batch costs per image what one image costs, and gives the same bits.
//
// run() may be called from several threads at once. It allocates nothing but the outputs once the extents
// have been seen. A session survives fork(), which waits for a call that is preparing new extents. Calls
// throw InvalidArgument and FormatError alone, also where memory is short.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "qslim/core/context.h"
#include "qslim/core/span.h"
#include "qslim/runtime/model/model.h"

namespace qslim::runtime {

class Session {
 public:
  struct Options {
    std::size_t num_threads = 1;
    Isa isa = default_isa();
    // Bytes that packed weights and the activations and scratch of all kept extents may take together. A run
    // that needs more by itself throws; else the extents that were used longest ago are forgotten.
    std::size_t max_memory = std::size_t{8} << 30;
    // Show outputs by observe(), and do not return them by run(). An output takes memory from the step that
    // completes it to the last one that reads it, and no extents are kept but those of the last call.
    bool observes = false;
    // Run a batch image by image where images do not meet in the network.
    bool splits_batches = true;
  };

  // Row-major, of the type that the model gives the input.
  struct Input {
    const void* data;
    Dims dims;
  };
  // An input or an output, as the model declares it.
  struct Signature {
    std::string name;
    DType dtype;
    std::optional<Dims> shape;  // as the model has it; kUnknownExtent where it is open
  };
  // An output while it is shown. Row-major, as the model has it; may be read until the observer returns.
  struct Shown {
    std::size_t output;
    const void* data;
    const Dims& dims;  // of one image where the batch runs image by image
    DType dtype;
    std::size_t image;
  };
  using Observer = std::function<void(const Shown&)>;
  struct LayerProfile {
    std::string label, op, kernel, type, reason;
    std::int64_t macs = 0;
    double seconds = 0;  // of one image where the batch runs image by image; the least of the runs
  };
  // Activations and scratch of all extents that are kept, for every image that runs at once.
  struct Memory {
    std::size_t file_bytes, packed_bytes, arena_bytes, scratch_bytes;
  };

  static Session open(const std::string& path) { return open(path, Options()); }
  static Session open(const std::string& path, const Options& options);
  explicit Session(Model model) : Session(std::move(model), Options()) {}
  Session(Model model, const Options& options);
  ~Session();
  Session(Session&&) noexcept;
  Session& operator=(Session&&) noexcept;

  const std::vector<Signature>& inputs() const noexcept;
  const std::vector<Signature>& outputs() const noexcept;
  std::size_t num_threads() const noexcept;
  // Return the number of threads that the system did not start: runs go on with fewer, and give the same
  // bits.
  std::size_t refused_threads() const noexcept;
  Isa isa() const noexcept;

  struct OutputSpec {
    Dims dims;
    DType dtype;
  };
  // Return extents and types of the outputs for inputs of those extents.
  std::vector<OutputSpec> output_specs(const std::vector<Dims>& inputs) const;

  // Write the outputs, in the model's order, to arrays of the specified extents.
  void run(Span<const Input> inputs, Span<void* const> outputs) const;

  // Run the network and show each output as soon as it is complete, in the order of the steps, all those of
  // one image before the next one's. The observer is called on this thread and may throw; it must not use this
  // session. NaN have any bits.
  void observe(Span<const Input> inputs, const Observer& observer) const;
  // Return the number of images that a call with inputs of those extents runs one by one; 1 if it runs the
  // batch at once.
  std::size_t images_apart(const std::vector<Dims>& inputs) const;

  // Return the steps of a run, each with the least time that it took in `runs` runs.
  std::vector<LayerProfile> profile(Span<const Input> inputs, std::size_t runs) const;
  Memory memory() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace qslim::runtime
