#pragma once

#include "kernels/cuda/device_weight.h"
#include "kernels/tensor_view.h"

namespace cascade::kernels::cuda {

// out (+)= x * weight^T (+ bias).
struct LinearCall {
  const DeviceWeight* weight = nullptr;
  TensorView out;               // [rows of x, weight rows]: F32 or the compute type
  bool accumulate = false;      // add to out, which is F32
  const float* bias = nullptr;  // [weight rows], or null; not with accumulate
};

}  // namespace cascade::kernels::cuda
