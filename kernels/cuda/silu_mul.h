#pragma once

#include "kernels/cuda/stream.h"
#include "kernels/tensor_view.h"

namespace cascade::kernels::cuda {

// gate = silu(gate) * up, in place; rounded once. gate, up: of one shape and type, F32, BF16 or F16.
void SiluMul(Stream& stream, TensorView gate, TensorView up);

}  // namespace cascade::kernels::cuda
