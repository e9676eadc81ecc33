// Which kernel multiplies.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/device_weight.h"

namespace cascade::kernels::cuda {

enum class LinearKernel : uint8_t {
  kSkinny,  // linear_skinny
  kTile,    // linear_tile
  kBlas,    // linear_blas
};

// How many rows linear_skinny takes at most: the sums of all its warps are in shared memory, beside weights on their way.
// shared_bytes: of a block.
int MostSkinnyRows(size_t shared_bytes);

// For x [rows, cols]. A function of its arguments only, so that a step's kernels are the same whenever it is run. Under
// `deterministic` it is one kernel whatever the number of rows.
LinearKernel ChooseLinear(WeightFormat format, int64_t rows, int64_t cols, int skinny_rows, bool deterministic);

}  // namespace cascade::kernels::cuda
