#pragma once

#include <cstdint>

#include "kernels/cuda/device_weight.h"
#include "kernels/cuda/stream.h"
#include "kernels/tensor_view.h"

namespace cascade::kernels::cuda {

// Rows [first, first + out.rows) of a matrix, each value rounded once. out: BF16 or F16, 16-byte aligned;
// [.., weight.cols rounded up to a multiple of 8], columns beyond weight.cols become zero.
void Dequantise(Stream& stream, const DeviceWeight& weight, int64_t first, TensorView out);

}  // namespace cascade::kernels::cuda
