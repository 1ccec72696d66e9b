// SPDX-License-Identifier: Apache-2.0
//
// The rows of a family's table.h as parameters of its tests: one test for each row that this machine runs,
// named by family and instruction set (Kernels/Reduce.SumsEqualTheReference/reduce_avx2). A test that runs
// the family's driver takes the row's instruction set, by which the driver chooses that row
// (core/dispatch.h).
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <ostream>
#include <string>
#include <vector>

#include "qslim/core/isa.h"

namespace qslim::test {

template <class Kernel>
struct KernelRow {
  std::string name;
  const Kernel* kernels;
};

template <class Kernel>
std::ostream& operator<<(std::ostream& os, const KernelRow<Kernel>& row) {
  return os << row.name;
}

template <class Kernel, std::size_t Size>
std::vector<KernelRow<Kernel>> supported_rows(const std::string& family, const Kernel (&table)[Size]) {
  std::vector<KernelRow<Kernel>> rows;
  for (const Kernel& kernels : table) {
    if (is_supported(kernels.isa)) rows.push_back({family + "_" + name_of(kernels.isa), &kernels});
  }
  return rows;
}

template <class Kernel>
class KernelTest : public testing::TestWithParam<KernelRow<Kernel>> {
 protected:
  const Kernel& kernels() const { return *this->GetParam().kernels; }
  Isa isa() const { return kernels().isa; }
};

// An instruction set of this machine, for a driver of several families; named as in conv_u8s8_avx2.
struct NamedIsa {
  std::string name;
  Isa isa;
};

inline std::ostream& operator<<(std::ostream& os, const NamedIsa& named) { return os << named.name; }

inline std::vector<NamedIsa> every_isa(const std::string& driver) {
  std::vector<NamedIsa> named;
  for (const Isa isa : available_isas()) named.push_back({driver + "_" + name_of(isa), isa});
  return named;
}

class IsaTest : public testing::TestWithParam<NamedIsa> {
 protected:
  Isa isa() const { return GetParam().isa; }
};

// The name of a parameter that has one.
struct NameOfRow {
  template <class Row>
  std::string operator()(const testing::TestParamInfo<Row>& info) const {
    return info.param.name;
  }
};

}  // namespace qslim::test

// Instantiate Suite, a KernelTest, for the rows of `table` that this machine runs.
#define QSLIM_TEST_KERNEL_ROWS(Suite, family, table)                                               \
  INSTANTIATE_TEST_SUITE_P(Kernels, Suite, testing::ValuesIn(test::supported_rows(family, table)), \
                           test::NameOfRow())
