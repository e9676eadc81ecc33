#pragma once

#include <cstdint>

#include "kernels/cuda/device_weight.h"
#include "kernels/cuda/stream.h"
#include "kernels/tensor_view.h"

namespace cascade::kernels::cuda {

// out[r] = table[ids[r]]. ids: [out.rows], on the device; out: F32 [.., table.cols]. For ids that are not in the table
// (padding, kNoId) some row of it.
void Embed(Stream& stream, const DeviceWeight& table, const int32_t* ids, TensorView out);

}  // namespace cascade::kernels::cuda
