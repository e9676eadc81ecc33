#include "kernels/cuda/linear_choice.h"

namespace cascade::kernels::cuda {
namespace {

constexpr int64_t kTileRows = 64;
// linear_skinny has x in shared memory. Beyond this it would have it in parts, between which all warps wait: over few
// rows of weights that costs more than linear_tile's sums of parts do.
constexpr int64_t kSkinnyBytes = 112 << 10;
// linear_blas makes a copy of quantised weights first, a write and a read of 2 bytes each: not worth it for fewer rows.
constexpr int64_t kQuantisedTileRows = 128;

}  // namespace

int MostSkinnyRows(size_t shared_bytes) { return shared_bytes >= size_t{160} << 10 ? 8 : 4; }

LinearKernel ChooseLinear(WeightFormat format, int64_t rows, int64_t cols, int skinny_rows, bool deterministic) {
  if (cols % 8 != 0) return LinearKernel::kBlas;  // rows of x are not aligned
  if (deterministic) return LinearKernel::kTile;
  if (rows <= skinny_rows && 2 * rows * cols <= kSkinnyBytes) return LinearKernel::kSkinny;
  if (rows <= (IsQuantised(format) ? kQuantisedTileRows : kTileRows)) return LinearKernel::kTile;
  return LinearKernel::kBlas;
}

}  // namespace cascade::kernels::cuda
