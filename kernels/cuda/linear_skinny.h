// Linear layers over few rows: as fast as memory gives the weights.
#pragma once

#include <span>

#include "kernels/cuda/linear_call.h"
#include "kernels/cuda/stream.h"
#include "kernels/tensor_view.h"

namespace cascade::kernels::cuda {

inline constexpr int kSkinnyRows = 16;  // at most

// RMS norm of x before it is multiplied.
struct InputNorm {
  const float* gain = nullptr;  // [cols]
  float eps = 0;
};

// At most four matrices of one format, over one x: BF16 or F16 [rows, cols], rows <= kSkinnyRows. Columns: a multiple
// of 8, of 32 for quantised weights. A row's bits depend on how many rows there are, not on what is in them.
void LinearSkinny(Stream& stream, TensorView x, std::span<const LinearCall> calls);
// The same over RmsNorm(x), x: F32, rounded to `compute` (BF16 or F16).
void NormLinearSkinny(Stream& stream, TensorView x, InputNorm norm, DType compute, std::span<const LinearCall> calls);
// gate = silu(h * gate_weight^T) * (h * up_weight^T). h = x, or with a gain RmsNorm(x) rounded to gate's type. Weights
// of one format and shape.
void GatedLinearSkinny(Stream& stream, TensorView x, InputNorm norm, const DeviceWeight& gate_weight,
                       const DeviceWeight& up_weight, TensorView gate);

}  // namespace cascade::kernels::cuda
