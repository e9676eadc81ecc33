// Stored weights to float32, in plain code: the reading that every fast kernel is compared with. Equal, bit for bit, to
// the `gguf` Python package (any NaN for a NaN); for this its file is compiled without fused multiply-add.
#pragma once

#include <cstdint>

#include "kernels/dtype.h"

namespace cascade::kernels {

// row: RowBytes(type, n) bytes, any alignment; out: [n]; n a multiple of BlockElements(type).
void DequantizeRow(DType type, const void* row, float* out, int64_t n);

// IEEE half precision; exact, subnormals and infinities included.
float HalfToFloat(uint16_t half);

}  // namespace cascade::kernels
