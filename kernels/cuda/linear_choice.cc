#include "kernels/cuda/linear_choice.h"

namespace cascade::kernels::cuda {
namespace {

constexpr int64_t kSkinnyRows = 8;
constexpr int64_t kTileRows = 64;
// linear_skinny has x in shared memory. Beyond this it would have it in parts, between which all warps wait: over few
// rows of weights that costs more than linear_tile's sums of parts do.
constexpr int64_t kSkinnyBytes = 112 << 10;
// linear_blas makes a copy of quantised weights first, a write and a read of 2 bytes each: not worth it for fewer rows.
constexpr int64_t kQuantisedTileRows = 128;

}  // namespace

LinearKernel ChooseLinear(WeightFormat format, int64_t rows, int64_t weight_rows, int64_t cols, bool deterministic) {
  if (cols % 8 != 0) return LinearKernel::kBlas;  // rows of x are not aligned
  if (deterministic) return LinearKernel::kTile;
  if (rows <= kSkinnyRows && 2 * rows * cols <= kSkinnyBytes) return LinearKernel::kSkinny;
  if (rows <= (IsQuantised(format) ? kQuantisedTileRows : kTileRows)) return LinearKernel::kTile;
  return LinearKernel::kBlas;
}

}  // namespace cascade::kernels::cuda
