// SPDX-License-Identifier: Apache-2.0
//
// A run on extents that have been seen allocates nothing, in its own thread or in the pool's. In a program of
// its own, because it replaces operator new.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>
#include <vector>

#include "qslim/runtime/lowering/infer_context.h"
#include "qslim/runtime/session.h"
#include "runtime/example_models.h"

namespace {
std::atomic<long> allocations{0};

void* counted(std::size_t size, std::size_t alignment) {
  ++allocations;
  void* memory = alignment <= alignof(std::max_align_t)
                     ? std::malloc(size != 0 ? size : 1)
                     : std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
}  // namespace

void* operator new(std::size_t size) { return counted(size, 1); }
void* operator new[](std::size_t size) { return counted(size, 1); }
void* operator new(std::size_t size, std::align_val_t a) {
  return counted(size, static_cast<std::size_t>(a));
}
void* operator new[](std::size_t size, std::align_val_t a) {
  return counted(size, static_cast<std::size_t>(a));
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete[](void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }
void operator delete[](void* p, std::size_t) noexcept { std::free(p); }
void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete[](void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }
void operator delete[](void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }

namespace qslim::test {
namespace {

TEST(Allocation, NoneAfterTheFirstRun) {
  for (const auto& [name, builder] : example_models()) {
    for (const std::size_t threads : {1, 2}) {
      for (const std::int64_t images : {1, 2}) {
        const runtime::Session session(builder.model(), {threads, default_isa()});
        const auto& shape = session.inputs().at(0).shape;
        Dims dims = shape ? *shape : Dims{images, 3, 4};
        for (std::size_t i = 0; i < dims.size(); ++i) {
          if (dims[i] == runtime::kUnknownExtent) dims[i] = i == 0 ? images : 8;
        }
        if (images == 2 && dims[0] != 2) continue;
        const auto specs = [&] {
          try {
            return session.output_specs({dims});
          } catch (const InvalidArgument&) {
            // One of the examples takes single images only.
            return std::vector<runtime::Session::OutputSpec>{};
          }
        }();
        if (specs.empty()) continue;
        const auto bytes = [](const Dims& d) {
          return static_cast<std::size_t>(runtime::element_count(d)) * 8;
        };
        const std::vector<std::byte> x(bytes(dims));
        std::vector<std::vector<std::byte>> results;
        std::vector<void*> targets;
        for (const auto& spec : specs) {
          results.emplace_back(bytes(spec.dims));
          targets.push_back(results.back().data());
        }
        const std::vector<runtime::Session::Input> inputs = {{x.data(), dims}};
        session.run(inputs, targets);
        const long before = allocations.load();
        for (int i = 0; i < 5; ++i) session.run(inputs, targets);
        EXPECT_EQ(allocations.load() - before, 0)
            << name << ", " << threads << " threads, " << images << " images";
      }
    }
  }
}

}  // namespace
}  // namespace qslim::test
