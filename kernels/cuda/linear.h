// Linear layers, by the kernel that suits the number of rows.
#pragma once

#include <memory>
#include <span>

#include "absl/status/statusor.h"
#include "kernels/cuda/device_memory.h"
#include "kernels/cuda/device_weight.h"
#include "kernels/cuda/linear_call.h"
#include "kernels/cuda/linear_choice.h"
#include "kernels/cuda/stream.h"
#include "kernels/dtype.h"
#include "kernels/tensor_view.h"

namespace cascade::kernels::cuda {

class LinearBlas;
class LinearTile;

// One thread, one stream. A row's bits do not depend on other rows when `deterministic`, if columns are a multiple
// of 8.
class LinearOps {
 public:
  // compute: BF16 or F16. RESOURCE_EXHAUSTED, or what cuBLAS says when it can not be used.
  static absl::StatusOr<std::unique_ptr<LinearOps>> Create(Stream& stream, DeviceMemory& memory, DType compute,
                                                           bool deterministic);
  ~LinearOps();

  // Of every matrix, before the first step: scratch memory.
  void Reserve(const DeviceWeight& weight);

  // Several layers over one x: compute type.
  void Linear(Stream& stream, TensorView x, std::span<const LinearCall> calls);
  // The same over RmsNorm(x), x: F32. h: compute type, [x.rows, x.cols], undefined afterwards.
  void NormLinear(Stream& stream, TensorView x, const float* gain, float eps, TensorView h,
                  std::span<const LinearCall> calls);
  // gate = silu(h * gate_weight^T) * (h * up_weight^T), h = RmsNorm(x). h and up are undefined afterwards.
  void GatedNormLinear(Stream& stream, TensorView x, const float* gain, float eps, TensorView h,
                       const DeviceWeight& gate_weight, const DeviceWeight& up_weight, TensorView gate, TensorView up);

 private:
  LinearOps() = default;

  // Of x [rows, ..].
  LinearKernel Choose(int64_t rows, const DeviceWeight& weight) const;
  // All of `calls` go to linear_skinny.
  bool AllSkinny(int64_t rows, std::span<const LinearCall> calls) const;

  DType compute_ = DType::kBF16;
  bool deterministic_ = false;
  int skinny_rows_ = 0;
  std::unique_ptr<LinearTile> tile_;
  std::unique_ptr<LinearBlas> blas_;
};

}  // namespace cascade::kernels::cuda
