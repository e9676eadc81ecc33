#include "kernels/cuda_backend.h"
#include "tests/engine/model/golden_arithmetic.h"

namespace cascade::test {

std::vector<Arithmetic> GoldenArithmetics() {
  const auto with = [](kernels::CudaOptions options) {
    return [options] { return kernels::CreateCudaBackend(options); };
  };
  constexpr auto kBf16 = kernels::DType::kBF16;
  return {{"bfloat16", with({.compute = kBf16}), kBf16, Bf16Tolerance()},
          {"float16", with({.compute = kernels::DType::kF16}), kBf16, Bf16Tolerance()},
          {"deterministic", with({.compute = kBf16, .deterministic = true}), kBf16, Bf16Tolerance()}};
}

}  // namespace cascade::test
