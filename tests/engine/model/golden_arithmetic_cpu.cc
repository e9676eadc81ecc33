#include "kernels/cpu_backend.h"
#include "tests/engine/model/golden_arithmetic.h"

namespace cascade::test {

std::vector<Arithmetic> GoldenArithmetics() {
  const auto with = [](kernels::Activations activations) {
    return [activations] { return kernels::CreateCpuBackend({.num_threads = 2, .activations = activations}); };
  };
  return {{"float32", with(kernels::Activations::kFloat32), kernels::DType::kF32, Float32Tolerance()},
          {"int16", with(kernels::Activations::kInt16), kernels::DType::kF16, Half16Tolerance()},
          {"int8", with(kernels::Activations::kInt8), kernels::DType::kF16, Int8Tolerance()}};
}

}  // namespace cascade::test
