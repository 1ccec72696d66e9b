// SPDX-License-Identifier: Apache-2.0
//
// consumer MODEL: a kernel and a session from outside of qslim's tree.
#include <cmath>
#include <cstdio>
#include <vector>

#include "qslim/kernels/softmax/softmax.h"
#include "qslim/runtime/session.h"

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  qslim::Context context(/*num_threads=*/2);
  const std::vector<float> x = {0, 0, 0, 0};
  std::vector<float> p(4);
  qslim::softmax(context, /*outer=*/1, /*axis=*/4, /*inner=*/1, x.data(), p.data());

  const qslim::runtime::Session session = qslim::runtime::Session::open(argv[1]);
  const std::vector<qslim::runtime::Session::Input> inputs = {{p.data(), {1, 4}}};
  std::vector<float> y(250);
  session.run(inputs, std::vector<void*>{y.data()});
  std::printf("%.3f %.3f\n", static_cast<double>(p[0]), static_cast<double>(y[100]));
  return std::fabs(p[0] - 0.25f) < 1e-6f && std::fabs(y[100] - 25.0f) < 1e-4f ? 0 : 1;
}
