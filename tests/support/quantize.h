// Float32 rows to stored weights, as the `gguf` Python package rounds them; the way back is kernels/dequantize.h.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "kernels/dtype.h"

namespace cascade {

// The bytes of values.size() elements, a multiple of the type's block.
std::string Quantize(kernels::DType type, std::span<const float> values);
// Rounds to nearest, ties to even.
uint16_t FloatToHalf(float value);

}  // namespace cascade
