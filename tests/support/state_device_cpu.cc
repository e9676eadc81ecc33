#include "kernels/cpu_backend.h"
#include "tests/support/state_device.h"

namespace cascade::test {

StateDevice MakeStateDevice(int variant, int threads) {
  const bool integers = variant % 2 == 0;
  return {*kernels::CreateCpuBackend({.num_threads = threads,
                                      .activations = integers ? kernels::Activations::kInt16
                                                              : kernels::Activations::kFloat32}),
          integers ? kernels::DType::kF16 : kernels::DType::kF32};
}

int StateRounds(int rounds) { return rounds; }
int StateVariants(int variants) { return variants; }

}  // namespace cascade::test
