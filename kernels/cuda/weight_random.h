#pragma once

#include <cstdint>

#include "kernels/cuda/device_weight.h"
#include "kernels/cuda/stream.h"
#include "kernels/cuda/weight_repack.h"

namespace cascade::kernels::cuda {

// Fills a matrix (data, and groups of a quantised format) with uniform random numbers of mean 0 and variance 1 / cols,
// a function of the seed and the place in the matrix. codes: of a quantised format, those that its type has.
void FillRandom(Stream& stream, const DeviceWeight& weight, CodeRange codes, uint64_t seed);
// Sets a row's float32 numbers to 1.
void FillOnes(Stream& stream, float* row, int64_t cols);

}  // namespace cascade::kernels::cuda
