#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "kernels/cuda/device_memory.h"
#include "kernels/cuda/device_weight.h"
#include "kernels/cuda/linear_call.h"
#include "kernels/cuda/stream.h"
#include "kernels/dtype.h"
#include "kernels/tensor_view.h"

namespace cascade::kernels::cuda {

// Linear layers by cuBLASLt, which is hard to beat where there are many rows. Any shape and format; float32 sums.
//
// Weights that are not of the compute type are rounded to it piece by piece in a scratch matrix (once per call, so this
// is for many rows). A bias under an output of the compute type is rounded to that type; those of published models are
// of it. A row's bits depend on the number of rows, but on nothing else. One thread.
class LinearBlas {
 public:
  // compute: kBF16 or kF16. RESOURCE_EXHAUSTED without device memory, INTERNAL when cuBLASLt does not start.
  static absl::StatusOr<std::unique_ptr<LinearBlas>> Create(Stream& stream, DeviceMemory& memory, DType compute);
  ~LinearBlas();

  // Before the first step, once per matrix that Run will see. CHECKs that one of its rows fits into the scratch matrix.
  void Reserve(const DeviceWeight& weight);
  // x: [rows, weight cols], of the compute type.
  void Run(Stream& stream, TensorView x, const LinearCall& call);

 private:
  struct State;
  explicit LinearBlas(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace cascade::kernels::cuda
