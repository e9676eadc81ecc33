// Random weights of every type, as files store them.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include "kernels/backend.h"
#include "tests/support/reference_ops.h"

namespace cascade::kernels {

// Uniform in [-scale, scale].
std::vector<float> RandomFloats(std::mt19937& random, int64_t count, float scale = 1.0f);
reference::StoredWeight RandomWeight(std::mt19937& random, DType type, int64_t rows, int64_t cols);
// The same of random bytes, for a quantised type: every scale and quant that a file may have.
reference::StoredWeight RandomBlockWeight(std::mt19937& random, DType type, int64_t rows, int64_t cols);
const std::vector<DType>& AllTypes();
const std::vector<DType>& QuantizedTypes();

WeightId Load(Backend& backend, const reference::StoredWeight& weight);

}  // namespace cascade::kernels
