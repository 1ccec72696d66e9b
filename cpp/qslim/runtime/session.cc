// SPDX-License-Identifier: Apache-2.0
#include "qslim/runtime/session.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <list>
#include <mutex>
#include <set>
#include <utility>

#include "qslim/core/aligned_buffer.h"
#include "qslim/core/error.h"
#include "qslim/runtime/compile/compiler.h"
#include "qslim/runtime/model/model_file.h"
#include "qslim/runtime/ops/registry.h"
#include "qslim/runtime/plan.h"

namespace qslim::runtime {
namespace {

// Plans kept for extents that may come again.
constexpr std::size_t kMaxPlans = 8;

// A network that needs more is damaged, or its input is: better a sentence now than the kernel's OOM killer.
constexpr std::size_t kMaxMemory = std::size_t{8} << 30;

// What one run needs besides the plan.
struct Workspace {
  explicit Workspace(const Plan& plan)
      : arena(plan.arena_bytes + kReadSlack),
        scratch(plan.scratch_bytes + kReadSlack),
        buffers(plan.buffers.size()) {
    for (std::size_t i = 0; i < buffers.size(); ++i) {
      const Buffer& buffer = plan.buffers[i];
      if (buffer.kind == Buffer::Kind::kArena) buffers[i] = arena.data() + buffer.place;
      if (buffer.kind == Buffer::Kind::kConstant) buffers[i] = const_cast<void*>(buffer.constant.get());
    }
  }

  AlignedBuffer<std::byte> arena, scratch;
  std::vector<void*> buffers;
};

// A plan and the workspaces that are free.
class Prepared {
 public:
  explicit Prepared(Plan plan) : plan_(std::move(plan)) {}

  const Plan& plan() const noexcept { return plan_; }

  // From now on as many images as that can run at once without a new workspace.
  void reserve(std::size_t images) {
    const std::lock_guard<std::mutex> lock(mutex_);
    while (count_ < images) add();
  }

  std::unique_ptr<Workspace> borrow() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (free_.empty()) add();  // several threads are in Session::run
    std::unique_ptr<Workspace> workspace = std::move(free_.back());
    free_.pop_back();
    return workspace;
  }

  void give_back(std::unique_ptr<Workspace> workspace) noexcept {
    const std::lock_guard<std::mutex> lock(mutex_);
    free_.push_back(std::move(workspace));  // add() has made room
  }

 private:
  void add() {
    free_.reserve(count_ + 1);
    free_.push_back(std::make_unique<Workspace>(plan_));
    ++count_;
  }

  const Plan plan_;
  std::mutex mutex_;
  std::size_t count_ = 0;  // of all workspaces, borrowed ones included
  std::vector<std::unique_ptr<Workspace>> free_;
};

// How inputs of certain extents are run: at once, or `images` times one image.
struct Recipe {
  std::vector<Dims> input_dims;
  std::size_t images = 1;
  std::shared_ptr<Prepared> prepared;
  std::vector<Session::OutputSpec> outputs;
};

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
        context(o.num_threads, o.isa),
        inputs(signatures(model, model.inputs)),
        outputs(signatures(model, model.outputs)) {
    check_operators(model);
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
      recipe.outputs.push_back({output.dims, output.dtype});
    }
    const std::int64_t images = dims.empty() || dims[0].empty() ? 1 : dims[0][0];
    std::vector<Dims> single = dims;
    for (Dims& d : single) {
      if (!d.empty()) d[0] = 1;
    }
    if (images > 1 && images_stay_apart(facts, images, single)) {
      recipe.prepared = find_locked(single)->prepared;
      recipe.images = static_cast<std::size_t>(images);
    } else {
      Compiler compiler(model, std::move(facts), context.isa(), context.pool().num_threads(), weights);
      Plan plan = compiler.compile();
      QSLIM_REQUIRE(plan.arena_bytes + plan.scratch_bytes <= kMaxMemory,
                    "a run on inputs of these extents would need ",
                    (plan.arena_bytes + plan.scratch_bytes) >> 20, " MiB of memory, the engine stops at ",
                    kMaxMemory >> 20);
      recipe.prepared = std::make_shared<Prepared>(std::move(plan));
    }
    recipe.prepared->reserve(std::min(recipe.images, context.pool().num_threads()));
    recipes.push_front(std::make_shared<const Recipe>(std::move(recipe)));
    if (recipes.size() > kMaxPlans) recipes.pop_back();
    return recipes.front();
  }

  void check_count(std::size_t count) const {
    QSLIM_REQUIRE(count == inputs.size(), "expected ", inputs.size(), " inputs, got ", count);
  }

  // Whether a batch may run image by image: its operators do not let images meet, and what they compute from
  // one image is what they compute from the batch but for axis 0. The second is not implied: a constant may
  // have as many rows as the batch has images.
  bool images_stay_apart(std::vector<TensorFacts>& facts, std::int64_t images,
                         const std::vector<Dims>& single) const {
    const auto index = [](int id) { return static_cast<std::size_t>(id); };
    for (const int id : model.inputs) {
      const std::optional<Dims>& shape = model.tensors[index(id)].shape;
      const Dims& dims = facts[index(id)].dims;
      if (dims.empty() || dims[0] != images || (shape && (*shape)[0] != kUnknownExtent)) return false;
    }
    std::vector<TensorFacts> one;
    try {
      one = infer(model, single);
    } catch (const InvalidArgument&) {
      return false;  // one image alone does not go through
    }
    const auto is_split = [&](int id) {
      if (id == kAbsent) return true;
      const Dims &all = facts[index(id)].dims, &part = one[index(id)].dims;
      return !all.empty() && !part.empty() && all[0] == images && part[0] == 1 &&
             std::equal(all.begin() + 1, all.end(), part.begin() + 1, part.end());
    };
    const auto is_same = [&](int id) {
      return id == kAbsent || (facts[index(id)].dims == one[index(id)].dims &&
                               facts[index(id)].integers == one[index(id)].integers);
    };
    std::vector<bool> varies(model.tensors.size(), false);  // with the data of the inputs
    for (const int id : model.inputs) varies[index(id)] = true;
    const bool apart = std::all_of(model.nodes.begin(), model.nodes.end(), [&](const Node& node) {
      const auto is_known = [&](int id) { return id == kAbsent || facts[index(id)].integers.has_value(); };
      const auto is_data = [&](int id) { return id != kAbsent && varies[index(id)]; };
      if (std::all_of(node.outputs.begin(), node.outputs.end(), is_known)) return true;
      if (std::none_of(node.inputs.begin(), node.inputs.end(), is_data)) {
        return std::all_of(node.inputs.begin(), node.inputs.end(), is_same) &&
               std::all_of(node.outputs.begin(), node.outputs.end(), is_same);
      }
      for (const int id : node.outputs) {
        if (id != kAbsent) varies[index(id)] = true;
      }
      return std::all_of(node.outputs.begin(), node.outputs.end(), is_split) &&
             find_operator(node)->splits(InferContext(model, node, facts));
    });
    return apart && std::all_of(model.outputs.begin(), model.outputs.end(),
                                [&](int id) { return varies[index(id)] && is_split(id); });
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

  void run_steps(Workspace& workspace, const Plan& plan) {
    const Execution execution{context, workspace.buffers.data(), workspace.scratch.data()};
    for (const Step& step : plan.steps) step.run(execution);
  }

  void run(Span<const Input> in, Span<void* const> out) {
    QSLIM_REQUIRE(out.size() == outputs.size(), "expected ", outputs.size(), " output arrays, got ",
                  out.size());
    for (std::size_t i = 0; i < in.size(); ++i)
      QSLIM_REQUIRE(in[i].data != nullptr, "input ", i, " has no data");
    const std::shared_ptr<const Recipe> recipe = find(in);
    for (std::size_t i = 0; i < out.size(); ++i) {
      QSLIM_REQUIRE(out[i] != nullptr || element_count(recipe->outputs[i].dims) == 0, "output ", i,
                    " has no array");
    }
    Prepared& prepared = *recipe->prepared;
    context.pool().run(recipe->images, [&](std::size_t image) {
      std::unique_ptr<Workspace> workspace = prepared.borrow();
      bind(*workspace, prepared.plan(), in, out, image);
      run_steps(*workspace, prepared.plan());
      prepared.give_back(std::move(workspace));
    });
  }

  Model model;
  Context context;
  WeightCache weights;
  std::vector<Signature> inputs, outputs;
  std::mutex mutex;
  std::list<std::shared_ptr<const Recipe>> recipes;  // the last used first
};

Session Session::open(const std::string& path, const Options& options) {
  return Session(load_model(path), options);
}

Session::Session(Model model, const Options& options)
    : impl_(std::make_unique<Impl>(std::move(model), options)) {}
Session::~Session() = default;
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;

const std::vector<Session::Signature>& Session::inputs() const noexcept { return impl_->inputs; }
const std::vector<Session::Signature>& Session::outputs() const noexcept { return impl_->outputs; }
std::size_t Session::num_threads() const noexcept { return impl_->context.pool().num_threads(); }
Isa Session::isa() const noexcept { return impl_->context.isa(); }

std::vector<Session::OutputSpec> Session::output_specs(const std::vector<Dims>& inputs) const {
  return impl_->find(inputs)->outputs;
}

void Session::run(Span<const Input> inputs, Span<void* const> outputs) const { impl_->run(inputs, outputs); }

std::vector<Session::LayerProfile> Session::profile(Span<const Input> inputs, std::size_t runs) const {
  const std::shared_ptr<const Recipe> recipe = impl_->find(inputs);
  const Plan& plan = recipe->prepared->plan();
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
  Workspace workspace(plan);
  Impl::bind(workspace, plan, inputs, targets, 0);
  const Execution execution{impl_->context, workspace.buffers.data(), workspace.scratch.data()};
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
  for (const auto& recipe : impl_->recipes) {
    memory.arena_bytes = std::max(memory.arena_bytes, recipe->prepared->plan().arena_bytes);
    memory.scratch_bytes = std::max(memory.scratch_bytes, recipe->prepared->plan().scratch_bytes);
  }
  return memory;
}

}  // namespace qslim::runtime
