#pragma once

#include "kernels/cuda/stream.h"
#include "kernels/tensor_view.h"

namespace cascade::kernels::cuda {

// out = x / sqrt(mean(x^2) + eps) * gain, by row; rounded once, to out's type. x: F32 [rows, cols]; gain: [cols], a
// weight (it is read before the kernel before this one has ended); out: F32, BF16 or F16, may be x. A row's bits depend
// on the row only.
void RmsNorm(Stream& stream, TensorView x, const float* gain, float eps, TensorView out);

}  // namespace cascade::kernels::cuda
