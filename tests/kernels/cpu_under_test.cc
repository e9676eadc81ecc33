// The CPU back end with every instruction set of this machine, and activations that are not rounded to integers: what
// rounding them does is tested in cpu_linear_test.cc.
#include "kernels/base/check.h"
#include "kernels/cpu_backend.h"
#include "tests/kernels/backend_under_test.h"
#include "tests/kernels/cpu_op_test.h"

namespace cascade::kernels {

const std::vector<BackendUnderTest>& BackendsUnderTest() {
  static const std::vector<BackendUnderTest> all = [] {
    std::vector<BackendUnderTest> backends;
    for (const int64_t target : AvailableTargets()) {
      backends.push_back({.name = "CPU_" + TargetName(target),
                          .create = [](int threads) { return CreateBackend(threads, Activations::kFloat32); },
                          .conditions = [target] { return std::make_shared<UseTarget>(target); },
                          .caches = target == AvailableTargets().front()});
    }
    return backends;
  }();
  return all;
}

}  // namespace cascade::kernels
