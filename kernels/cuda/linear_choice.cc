#include "kernels/cuda/linear_choice.h"

namespace cascade::kernels::cuda {
namespace {

// linear_skinny has x in shared memory. Beyond about this much, on the devices that have most, it has it in parts,
// between which all warps wait.
constexpr int64_t kSkinnyBytes = 136 << 10;
// Weights that are converted on the way take more instructions for every row.
constexpr int64_t kConvertedSkinnyRows = 8;
constexpr int64_t kConvertedSkinnyBytes = 64 << 10;
// linear_tile takes several matrices in one launch, which begins while the one before it ends: with few rows that makes
// up for cuBLAS's being faster alone (by 3 to 15 %). linear_blas makes a copy of weights that are not of the compute
// type first, a write and a read of 2 bytes each: not worth it for fewer rows.
constexpr int64_t kTileRows = 32;
constexpr int64_t kConvertedTileRows = 128;

}  // namespace

int MostSkinnyRows(size_t shared_bytes) {
  return shared_bytes >= size_t{227} << 10 ? 16 : shared_bytes >= size_t{160} << 10 ? 8 : 4;
}

LinearKernel ChooseLinear(const LinearShape& shape, int skinny_rows, bool deterministic) {
  if (shape.cols % 8 != 0) return LinearKernel::kBlas;  // rows of x are not aligned
  if (deterministic) return LinearKernel::kTile;
  const int64_t x_bytes = 2 * shape.rows * shape.cols;
  const bool skinny = shape.of_compute_type ? x_bytes <= kSkinnyBytes
                                            : x_bytes <= kConvertedSkinnyBytes && shape.rows <= kConvertedSkinnyRows;
  if (skinny && shape.rows <= skinny_rows) return LinearKernel::kSkinny;
  if (shape.rows <= (shape.of_compute_type ? kTileRows : kConvertedTileRows)) return LinearKernel::kTile;
  return LinearKernel::kBlas;
}

}  // namespace cascade::kernels::cuda
