// SPDX-License-Identifier: Apache-2.0
#include "qslim/core/isa.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "qslim/core/context.h"
#include "qslim/core/error.h"

namespace qslim {
namespace {

class IsaEnvironment : public ::testing::Test {
 protected:
  ~IsaEnvironment() override { ::unsetenv("QSLIM_ISA"); }
};

TEST(Isa, NamesGoBothWays) {
  for (const Isa isa : {Isa::kScalar, Isa::kNeon, Isa::kDotprod, Isa::kI8mm, Isa::kAvx2, Isa::kAvxVnni,
                        Isa::kAvx512, Isa::kAvx512Vnni}) {
    EXPECT_EQ(isa_from_name(name_of(isa)), isa);
  }
}

TEST(Isa, UnknownNameListsTheKnownOnes) {
  try {
    isa_from_name("mmx");
    FAIL();
  } catch (const InvalidArgument& error) {
    std::string known;
    for (const Isa isa : available_isas()) known += concatenate(known.empty() ? "" : ", ", name_of(isa));
    EXPECT_EQ(error.what(), concatenate("isa must be one of ", known, " on this machine, got 'mmx'"));
  }
}

TEST(Isa, ScalarIsAlwaysThereAndTheBestIsListedLast) {
  EXPECT_EQ(available_isas().front(), Isa::kScalar);
  EXPECT_EQ(available_isas().back(), detected_isa());
}

TEST_F(IsaEnvironment, CapsButNeverRaises) {
  ::setenv("QSLIM_ISA", "scalar", 1);
  EXPECT_EQ(default_isa(), Isa::kScalar);
  EXPECT_EQ(Context().isa(), Isa::kScalar);
  ::setenv("QSLIM_ISA", "avx512vnni", 1);
  EXPECT_EQ(default_isa(), detected_isa());
  ::setenv("QSLIM_ISA", "", 1);
  EXPECT_EQ(default_isa(), detected_isa());
}

TEST_F(IsaEnvironment, UnknownNameIsAnError) {
  ::setenv("QSLIM_ISA", "avx3", 1);
  EXPECT_THROW(default_isa(), InvalidArgument);
}

TEST(Isa, ContextRefusesWhatTheMachineLacks) {
  EXPECT_THROW(Context(1, is_supported(Isa::kNeon) ? Isa::kAvx2 : Isa::kNeon), InvalidArgument);
  EXPECT_THROW(Context(0), InvalidArgument);
}

}  // namespace
}  // namespace qslim
