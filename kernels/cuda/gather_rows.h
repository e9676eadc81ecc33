#pragma once

#include <cstdint>

#include "kernels/cuda/stream.h"
#include "kernels/tensor_view.h"

namespace cascade::kernels::cuda {

// out[i] = x[rows[i]]. x, out: of one type, F32, BF16 or F16; rows: [out.rows], on the device, in [0, x.rows).
void GatherRows(Stream& stream, TensorView x, const int32_t* rows, TensorView out);

}  // namespace cascade::kernels::cuda
