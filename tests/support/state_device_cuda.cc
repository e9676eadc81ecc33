#include <algorithm>

#include "kernels/cuda_backend.h"
#include "tests/support/state_device.h"

namespace cascade::test {

StateDevice MakeStateDevice(int variant, int) {
  return {*kernels::CreateCudaBackend(
              {.compute = variant % 2 == 0 ? kernels::DType::kBF16 : kernels::DType::kF16, .deterministic = true}),
          kernels::DType::kBF16};
}

#ifdef CASCADE_CUDA_EMULATED
int StateRounds(int rounds) { return std::max(1, rounds / 20); }
int StateVariants(int variants) { return std::max(1, variants / 3); }
#else
int StateRounds(int rounds) { return rounds; }
int StateVariants(int variants) { return variants; }
#endif

}  // namespace cascade::test
