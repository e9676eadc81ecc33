// Which kernel multiplies.
#pragma once

#include <cstddef>
#include <cstdint>

namespace cascade::kernels::cuda {

enum class LinearKernel : uint8_t {
  kSkinny,  // linear_skinny
  kTile,    // linear_tile
  kBlas,    // linear_blas
};

// How many rows linear_skinny takes at most: the sums of all its warps are in shared memory, beside weights on their
// way. shared_bytes: of a block.
int MostSkinnyRows(size_t shared_bytes);

// linear_skinny makes the norm of so many rows itself: of more, every block's reading all of x in float32 takes longer
// than a kernel for the norm, during which the next one fetches its weights.
inline constexpr int kFusedNormRows = 2;

struct LinearShape {
  int64_t rows, cols;    // of x
  bool of_compute_type;  // the weight's elements are what is multiplied
};

// A function of its arguments only, so that a step's kernels are the same whenever it is run. Under `deterministic` it
// is one kernel whatever the number of rows.
LinearKernel ChooseLinear(const LinearShape& shape, int skinny_rows, bool deterministic);

}  // namespace cascade::kernels::cuda
