// SPDX-License-Identifier: Apache-2.0
#include "qslim/runtime/session.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <limits>
#include <list>
#include <mutex>
#include <new>
#include <set>
#include <stdexcept>
#include <thread>
#include <utility>

#include "qslim/core/aligned_buffer.h"
#include "qslim/core/error.h"
#include "qslim/runtime/compile/batch_split.h"
#include "qslim/runtime/compile/compile.h"
#include "qslim/runtime/compile/inference.h"
#include "qslim/runtime/model/model_file.h"
#include "qslim/runtime/ops/registry.h"
#include "qslim/runtime/plan/plan.h"
#include "qslim/runtime/workspace.h"

namespace qslim::runtime {
namespace {

// Plans kept for extents that may come again.
constexpr std::size_t kMaxPlans = 8;

// Makes every NaN the same one. Which of two NaN an addition passes on, and with which sign, depends on the
// order of the operands in the machine's instruction, and compilers change that.
void settle_nans(float* y, std::size_t n) noexcept {
  constexpr std::uint32_t kNan = 0x7fc00000, kInfinity = 0x7f800000, kMagnitude = 0x7fffffff;
  bool found = false;
  for (std::size_t i = 0; i < n; ++i) found |= y[i] != y[i];
  if (!found) return;
  for (std::size_t i = 0; i < n; ++i) {
    std::uint32_t bits;
    std::memcpy(&bits, y + i, sizeof bits);
    if ((bits & kMagnitude) > kInfinity) std::memcpy(y + i, &kNan, sizeof kNan);
  }
}

// A way to run inputs of certain extents: at once, or `images` times one image.
struct Recipe {
  std::vector<Dims> input_dims;
  std::size_t images = 1;
  std::shared_ptr<Prepared> prepared;
  std::vector<Session::OutputSpec> outputs;
};

// Memory that is not there becomes a sentence; nothing else of the standard library's leaves a Session.
template <class F>
auto with_memory(const F& f) -> decltype(f()) {
  try {
    return f();
  } catch (const std::bad_alloc&) {
    throw InvalidArgument("the machine has not enough memory for this model and inputs of these extents");
  } catch (const std::length_error&) {
    throw InvalidArgument("the machine has not enough memory for this model and inputs of these extents");
  }
}

std::size_t bytes_of(const Dims& dims, DType dtype) {
  return static_cast<std::size_t>(element_count(dims)) * size_of(dtype);
}

std::vector<Session::Signature> signatures(const Model& model, const std::vector<int>& ids) {
  std::vector<Session::Signature> result;
  for (const int id : ids) {
    const Tensor& tensor = model.tensors[static_cast<std::size_t>(id)];
    result.push_back({tensor.name, tensor.dtype, tensor.shape});
  }
  return result;
}

// Check an output against the file, by which callers allocate.
void check_output(const Tensor& tensor, const TensorFacts& facts) {
  QSLIM_REQUIRE(facts.dtype == tensor.dtype, "output '", tensor.name, "': the file says ",
                name_of(tensor.dtype), ", but its values are ", name_of(facts.dtype));
  bool fits = !tensor.shape || tensor.shape->size() == facts.dims.size();
  for (std::size_t i = 0; fits && tensor.shape && i < facts.dims.size(); ++i)
    fits = (*tensor.shape)[i] == kUnknownExtent || (*tensor.shape)[i] == facts.dims[i];
  QSLIM_REQUIRE(fits, "output '", tensor.name, "': the file says shape ",
                tensor.shape ? text_of(*tensor.shape) : std::string("?"), ", but it has ",
                text_of(facts.dims));
}

void check_operators(const Model& model) {
  std::set<std::string> missing;
  for (const Node& node : model.nodes) {
    if (find_operator(node) == nullptr)
      missing.insert((node.domain.empty() ? "" : node.domain + ".") + node.op_type);
  }
  if (missing.empty()) return;
  std::string names;
  for (const std::string& name : missing) names += (names.empty() ? "" : ", ") + name;
  throw InvalidArgument(concatenate("the engine has no kernel for: ", names,
                                    ". Leave these operators out of the model, or run it in its framework."));
}

}  // namespace

struct Session::Impl {
  Impl(Model m, const Options& o)
      : model(std::move(m)),
        max_memory(o.max_memory),
        observes(o.observes),
        splits_batches(o.splits_batches),
        context(o.num_threads, o.isa),
        inputs(signatures(model, model.inputs)),
        outputs(signatures(model, model.outputs)) {
    QSLIM_REQUIRE(max_memory >= 1, "max_memory must be at least 1, got ", max_memory);
    check_operators(model);
    prepare_known();
    Registry::get().add(this);
  }

  ~Impl() { Registry::get().remove(this); }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  void prepare_known() {
    // Where nothing but the number of images is open, everything is prepared now.
    std::vector<Dims> dims;
    for (const Signature& input : inputs) {
      if (!input.shape) return;
      dims.push_back(*input.shape);
      for (std::size_t i = 0; i < dims.back().size(); ++i) {
        if (dims.back()[i] == kUnknownExtent && i != 0) return;
        if (dims.back()[i] == kUnknownExtent) dims.back()[i] = 1;
      }
    }
    find(dims);
  }

  // DimsOf(i) gives the extents of input i.
  template <class DimsOf>
  std::shared_ptr<const Recipe> find_known(const DimsOf& dims_of) {
    for (auto recipe = recipes.begin(); recipe != recipes.end(); ++recipe) {
      bool is_same = true;
      for (std::size_t i = 0; is_same && i < inputs.size(); ++i)
        is_same = (*recipe)->input_dims[i] == dims_of(i);
      if (!is_same) continue;
      recipes.splice(recipes.begin(), recipes, recipe);
      return recipes.front();
    }
    return nullptr;
  }

  std::shared_ptr<const Recipe> find(const std::vector<Dims>& dims) {
    check_count(dims.size());
    const std::lock_guard<std::mutex> lock(mutex);
    return find_locked(dims);
  }

  std::shared_ptr<const Recipe> find(Span<const Input> in) {
    check_count(in.size());
    const std::lock_guard<std::mutex> lock(mutex);
    if (auto known = find_known([&](std::size_t i) -> const Dims& { return in[i].dims; })) return known;
    std::vector<Dims> dims;
    for (const Input& input : in) dims.push_back(input.dims);
    return find_locked(dims);
  }

  std::shared_ptr<const Recipe> find_locked(const std::vector<Dims>& dims) {
    if (auto known = find_known([&](std::size_t i) -> const Dims& { return dims[i]; })) return known;
    Recipe recipe;
    recipe.input_dims = dims;
    std::vector<TensorFacts> facts = infer(model, dims);
    for (const int id : model.outputs) {
      const TensorFacts& output = facts[static_cast<std::size_t>(id)];
      check_output(model.tensors[static_cast<std::size_t>(id)], output);
      recipe.outputs.push_back({output.dims, output.dtype});
    }
    const std::int64_t images = dims.empty() || dims[0].empty() ? 1 : dims[0][0];
    std::vector<Dims> single = dims;
    for (Dims& d : single) {
      if (!d.empty()) d[0] = 1;
    }
    if (images > 1 && splits_batches && images_stay_apart(model, facts, images, single)) {
      recipe.prepared = find_locked(single)->prepared;
      recipe.images = static_cast<std::size_t>(images);
    } else {
      Plan plan = compile(model, std::move(facts), context.isa(), context.pool().num_threads(), weights,
                          observes ? OutputUse::kShown : OutputUse::kReturned);
      check_room(Workspace::bytes_for(plan));
      recipe.prepared = std::make_shared<Prepared>(std::move(plan), usage);
    }
    recipes.push_front(std::make_shared<const Recipe>(std::move(recipe)));
    if (recipes.size() > (observes ? 1 : kMaxPlans)) recipes.pop_back();
    return recipes.front();
  }

  // Bytes that workspaces may take.
  std::size_t room() const noexcept { return max_memory - std::min(max_memory, weights.bytes()); }

  void check_room(std::size_t needed) const {
    QSLIM_REQUIRE(needed <= room(), "a run on inputs of these extents would need ", (needed >> 20) + 1,
                  " MiB of memory, and max_memory leaves ", room() >> 20, " (", max_memory >> 20,
                  " without packed weights)");
  }

  // Gives `prepared` workspaces for `images` at once, or for one if there is no room for all; the plans that
  // were last used longest ago make room for it.
  void make_room(Prepared& prepared, std::size_t images) {
    if (prepared.count() >= images) return;
    std::unique_lock<std::mutex> lock(mutex);
    const std::size_t wanted = images * prepared.bytes_each() <= room() ? images : 1;
    for (;;) {
      const std::size_t count = prepared.count();
      if (count >= wanted) return;
      check_room(prepared.bytes_each());  // weights that other extents have packed may have taken it
      const std::size_t more = (wanted - count) * prepared.bytes_each();
      while (*usage + more > room() && drop_last_used(prepared)) {
      }
      prepared.reserve(wanted, room());
      if (prepared.count() > 0) return;  // of several images, one after the other
      // For runs on other extents to end. They may be waiting for the lock themselves, with the memory of a
      // plan that was forgotten meanwhile.
      lock.unlock();
      wait_a_moment();
      lock.lock();
    }
  }

  // Forgets the recipe that was used longest ago and is not one of `kept`; false if there is none.
  bool drop_last_used(const Prepared& kept) {
    for (auto recipe = recipes.rbegin(); recipe != recipes.rend(); ++recipe) {
      if ((*recipe)->prepared.get() == &kept) continue;
      recipes.erase(std::next(recipe).base());
      return true;
    }
    return false;
  }

  // Around fork(), called by the thread that forks.
  void before_fork() {
    mutex.lock();
    for (const std::shared_ptr<Prepared>& prepared : distinct()) prepared->lock();
  }
  void after_fork(bool is_child) {
    for (const std::shared_ptr<Prepared>& prepared : distinct()) {
      if (is_child) prepared->forget_borrowed();
      prepared->unlock();
    }
    mutex.unlock();
  }

  // Return the plans that the recipes share, each once.
  std::vector<std::shared_ptr<Prepared>> distinct() const {
    std::vector<std::shared_ptr<Prepared>> found;
    for (const auto& recipe : recipes) {
      if (std::find(found.begin(), found.end(), recipe->prepared) == found.end())
        found.push_back(recipe->prepared);
    }
    return found;
  }

  // The sessions of the process. fork() waits until none of them is preparing extents: the child would find
  // their locks held by threads that it does not have.
  class Registry {
   public:
    static Registry& get() {
      static Registry& registry = *new Registry;  // for threads that outlive the end of main()
      return registry;
    }
    void add(Impl* impl) {
      const std::lock_guard<std::mutex> lock(mutex_);
      sessions_.insert(impl);
    }
    void remove(Impl* impl) {
      const std::lock_guard<std::mutex> lock(mutex_);
      sessions_.erase(impl);
    }

   private:
    Registry() {
      ::pthread_atfork([] { get().before(); }, [] { get().after(false); }, [] { get().after(true); });
    }
    void before() {
      mutex_.lock();
      for (Impl* impl : sessions_) impl->before_fork();
    }
    void after(bool is_child) {
      for (Impl* impl : sessions_) impl->after_fork(is_child);
      mutex_.unlock();
    }

    std::mutex mutex_;
    std::set<Impl*> sessions_;
  };

  void check_count(std::size_t count) const {
    QSLIM_REQUIRE(count == inputs.size(), "expected ", inputs.size(), " inputs, got ", count);
  }

  // Points the workspace at image `image` of the caller's arrays.
  static void bind(Workspace& workspace, const Plan& plan, Span<const Input> in, Span<void* const> out,
                   std::size_t image) {
    for (std::size_t i = 0; i < plan.buffers.size(); ++i) {
      const Buffer& buffer = plan.buffers[i];
      if (buffer.kind == Buffer::Kind::kInput) {
        const auto* bytes = static_cast<const std::byte*>(in[buffer.place].data);
        workspace.buffers[i] = const_cast<std::byte*>(bytes) + image * buffer.bytes;
      } else if (buffer.kind == Buffer::Kind::kOutput) {
        workspace.buffers[i] = static_cast<std::byte*>(out[buffer.place]) + image * buffer.bytes;
      }
    }
  }

  void run_steps(Workspace& workspace, const Plan& plan, const ShowFn* show = nullptr) {
    const Execution execution{context, workspace.buffers.data(), workspace.scratch.data(), show};
    for (const Step& step : plan.steps) step.run(execution);
    for (std::size_t i = 0; i < plan.buffers.size(); ++i) {
      const Buffer& buffer = plan.buffers[i];
      if (buffer.kind == Buffer::Kind::kOutput && plan.output_types[buffer.place] == DType::kFloat32)
        settle_nans(static_cast<float*>(workspace.buffers[i]), buffer.bytes / sizeof(float));
    }
  }

  std::vector<LayerProfile> profile(Span<const Input> in, std::size_t runs);

  static void check_data(Span<const Input> in) {
    for (std::size_t i = 0; i < in.size(); ++i)
      QSLIM_REQUIRE(in[i].data != nullptr, "input ", i, " has no data");
  }

  void observe(Span<const Input> in, const Observer& observer) {
    QSLIM_REQUIRE(observes, "this session returns its outputs: open it with options.observes, or call run()");
    check_data(in);
    const std::shared_ptr<const Recipe> recipe = find(in);
    Prepared& prepared = *recipe->prepared;
    make_room(prepared, 1);
    const Plan& plan = prepared.plan();
    const Borrowed workspace(prepared, room());
    for (std::size_t image = 0; image < recipe->images; ++image) {
      const ShowFn show = [&](std::size_t output, const void* data) {
        observer({output, data, plan.output_dims[output], plan.output_types[output], image});
      };
      bind(*workspace, plan, in, {}, image);
      run_steps(*workspace, plan, &show);
    }
  }

  void run(Span<const Input> in, Span<void* const> out) {
    QSLIM_REQUIRE(out.size() == outputs.size(), "expected ", outputs.size(), " output arrays, got ",
                  out.size());
    QSLIM_REQUIRE(!observes, "this session shows its outputs: call observe()");
    check_data(in);
    const std::shared_ptr<const Recipe> recipe = find(in);
    for (std::size_t i = 0; i < out.size(); ++i) {
      QSLIM_REQUIRE(out[i] != nullptr || element_count(recipe->outputs[i].dims) == 0, "output ", i,
                    " has no array");
    }
    Prepared& prepared = *recipe->prepared;
    const std::size_t at_once = std::min(recipe->images, context.pool().num_threads());
    make_room(prepared, at_once);
    const auto run_image = [&](std::size_t image) {
      const Borrowed workspace(prepared, room());
      bind(*workspace, prepared.plan(), in, out, image);
      run_steps(*workspace, prepared.plan());
    };
    if (prepared.count() >= at_once) {
      context.pool().run(recipe->images, run_image);
    } else {
      for (std::size_t image = 0; image < recipe->images; ++image) run_image(image);
    }
  }

  Model model;
  std::size_t max_memory;
  const bool observes, splits_batches;
  Context context;
  WeightCache weights;
  std::shared_ptr<Usage> usage = std::make_shared<Usage>(0);
  std::vector<Signature> inputs, outputs;
  std::mutex mutex;
  std::list<std::shared_ptr<const Recipe>> recipes;  // the last used first
};

Session Session::open(const std::string& path, const Options& options) {
  return with_memory([&] { return Session(load_model(path), options); });
}

Session::Session(Model model, const Options& options)
    : impl_(with_memory([&] { return std::make_unique<Impl>(std::move(model), options); })) {}
Session::~Session() = default;
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;

const std::vector<Session::Signature>& Session::inputs() const noexcept { return impl_->inputs; }
const std::vector<Session::Signature>& Session::outputs() const noexcept { return impl_->outputs; }
std::size_t Session::num_threads() const noexcept { return impl_->context.pool().num_threads(); }
std::size_t Session::refused_threads() const noexcept { return impl_->context.pool().refused_threads(); }
Isa Session::isa() const noexcept { return impl_->context.isa(); }

std::vector<Session::OutputSpec> Session::output_specs(const std::vector<Dims>& inputs) const {
  return with_memory([&] { return impl_->find(inputs)->outputs; });
}

void Session::run(Span<const Input> inputs, Span<void* const> outputs) const {
  with_memory([&] { impl_->run(inputs, outputs); });
}

void Session::observe(Span<const Input> inputs, const Observer& observer) const {
  with_memory([&] { impl_->observe(inputs, observer); });
}

std::size_t Session::images_apart(const std::vector<Dims>& inputs) const {
  return with_memory([&] { return impl_->find(inputs)->images; });
}

std::vector<Session::LayerProfile> Session::profile(Span<const Input> inputs, std::size_t runs) const {
  return with_memory([&] { return impl_->profile(inputs, runs); });
}

std::vector<Session::LayerProfile> Session::Impl::profile(Span<const Input> in, std::size_t runs) {
  const std::shared_ptr<const Recipe> recipe = find(in);
  Prepared& prepared = *recipe->prepared;
  make_room(prepared, 1);
  const Plan& plan = prepared.plan();
  std::vector<std::vector<std::byte>> outputs;
  std::vector<void*> targets;
  for (std::size_t i = 0; i < plan.output_dims.size(); ++i) {
    outputs.emplace_back(bytes_of(plan.output_dims[i], plan.output_types[i]));
    targets.push_back(outputs.back().data());
  }
  std::vector<LayerProfile> layers;
  for (const Step& step : plan.steps) {
    layers.push_back({step.label, step.op, step.kernel, step.type, step.reason, step.macs,
                      std::numeric_limits<double>::infinity()});
  }
  const Borrowed workspace(prepared, room());
  bind(*workspace, plan, in, targets, 0);
  const Execution execution{context, (*workspace).buffers.data(), (*workspace).scratch.data()};
  for (std::size_t r = 0; r < std::max<std::size_t>(runs, 1); ++r) {
    for (std::size_t i = 0; i < layers.size(); ++i) {
      const auto begin = std::chrono::steady_clock::now();
      plan.steps[i].run(execution);
      const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
      layers[i].seconds = std::min(layers[i].seconds, took.count());
    }
  }
  return layers;
}

Session::Memory Session::memory() const {
  const std::lock_guard<std::mutex> lock(impl_->mutex);
  Memory memory{impl_->model.file_bytes, impl_->weights.bytes(), 0, 0};
  for (const auto& prepared : impl_->distinct()) {
    const std::size_t count = std::max<std::size_t>(prepared->count(), 1);
    memory.arena_bytes += count * prepared->plan().arena_bytes;
    memory.scratch_bytes += count * prepared->plan().scratch_bytes;
  }
  return memory;
}

}  // namespace qslim::runtime
