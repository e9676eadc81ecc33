// Float32 rows to stored weights, as the `gguf` Python package rounds them (which has no rounding for IQ4_NL and the K
// types: ours is a simple one); the way back is kernels/dequantize.h.
#pragma once

#include <cstdint>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "kernels/dtype.h"

namespace cascade {

// The bytes of values.size() elements, a multiple of the type's block.
std::string Quantize(kernels::DType type, std::span<const float> values);
// Blocks of a quantised type whose bytes are all random, but for scales that keep the values near [-1, 1]: extreme
// quants and sub-scales, signs included, that rounding rarely makes. `values` is a multiple of the type's block.
std::string RandomBlocks(kernels::DType type, int64_t values, std::mt19937& random);
// Where a block of a quantised type has its f16 scale and, if it has one, its f16 minimum: byte offsets.
std::vector<int> HalfPlaces(kernels::DType type);
// Rounds to nearest, ties to even.
uint16_t FloatToHalf(float value);

}  // namespace cascade
