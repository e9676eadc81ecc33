#pragma once

#include <cstdint>

namespace cascade::kernels {

// out[k * 16 + lane] = element k of rows[lane]. rows: 16 pointers to `count` elements, any alignment; out may have any
// alignment, too.
void TransposeStrip16(const uint8_t* const* rows, int64_t count, uint8_t* out);  // elements of 2 bytes
void TransposeStrip32(const uint8_t* const* rows, int64_t count, uint8_t* out);  // elements of 4 bytes

}  // namespace cascade::kernels
