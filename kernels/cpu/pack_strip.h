// Between a file's rows and packed strips (packed_weight.h), on one thread.
#pragma once

#include <cstdint>

#include "kernels/dtype.h"

namespace cascade::kernels {

// Bytes of a strip of 16 rows of `cols` columns.
int64_t PackedStripBytes(DType type, int64_t cols);

// rows: 16 pointers to RowBytes(type, cols) bytes, any alignment; a row that the weight does not have is zeros.
// strip: PackedStripBytes.
void PackStrip(DType type, const uint8_t* const* rows, int64_t cols, uint8_t* strip);

// The float32 values of row `lane` of a strip, equal to DequantizeRow of what was packed. out: [cols].
void UnpackStripRow(DType type, const uint8_t* strip, int64_t cols, int lane, float* out);

}  // namespace cascade::kernels
