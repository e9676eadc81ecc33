// Which kernel multiplies.
#pragma once

#include <cstdint>

#include "kernels/cuda/device_weight.h"

namespace cascade::kernels::cuda {

enum class LinearKernel : uint8_t {
  kSkinny,  // linear_skinny
  kTile,    // linear_tile
  kBlas,    // linear_blas
};

// For x [rows, cols] and a weight [weight_rows, cols]. A function of its arguments only, so that a step's kernels are
// the same whenever it is run. Under `deterministic` it is linear_tile whatever the number of rows, unless cols is no
// multiple of 8: that only cuBLAS can do.
LinearKernel ChooseLinear(WeightFormat format, int64_t rows, int64_t weight_rows, int64_t cols, bool deterministic);

}  // namespace cascade::kernels::cuda
