// Tiles of 16-bit rows in shared memory, for the matrix instructions. Included by kernels only.
#pragma once

#include "kernels/cuda/device.h"

namespace cascade::kernels::cuda {

// Byte of a row's 16-byte chunk. Chunks are permuted by the row so that the eight rows that LoadMatrices reads together
// lie in different banks.
template <int kDim>
__device__ inline int TileOffset(int row, int chunk) {
  return row * (kDim * 2) + ((chunk ^ (row & 7)) << 4);
}

// Copies rows [0, kRows) of a dense array of [.., kDim], zeros from row `rows` on.
template <int kDim, int kRows, int kThreads>
__device__ inline void CopyTile(unsigned char* tile, const void* source, int rows) {
  constexpr int kChunks = kDim / 8, kRowsAtOnce = kThreads / kChunks;
  static_assert(kThreads % kChunks == 0 && kRows % kRowsAtOnce == 0);
  const int thread = static_cast<int>(threadIdx.x);
  const int row = thread / kChunks, chunk = thread % kChunks;
  const unsigned char* from = static_cast<const unsigned char*>(source) + thread * 16;
  const int rows_left = rows - row;
#pragma unroll
  for (int first = 0; first < kRows; first += kRowsAtOnce) {
    CopyAsync16(tile + first / 8 * 8 * (kDim * 2) + TileOffset<kDim>(first % 8 + row, chunk), from + first * (kDim * 2),
                first < rows_left);
  }
}

// Operands of MultiplyAdd from a tile, by a warp. `row` and `step` are warp uniform multiples of 16 rows and 16
// columns: apart from them a lane's offset is fixed, and only bits 5 and 6 of it change with the step, so that few
// registers hold all addresses.
__device__ inline int StepOffset(int lane_offset, int step) { return (lane_offset ^ (step % 4 << 5)) + step / 4 * 128; }

// As the left one, a: rows [row, row + 16).
template <int kDim>
__device__ inline void LoadLeft(uint32_t (&a)[4], const unsigned char* tile, int row, int step) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  LoadMatrices(a, tile + row * (kDim * 2) + StepOffset(TileOffset<kDim>(lane % 16, lane / 16), step));
}
// As two right ones, the tile's rows as columns of b: b[0..1] of rows [row, row + 8), b[2..3] of the next 8.
template <int kDim>
__device__ inline void LoadRight(uint32_t (&b)[4], const unsigned char* tile, int row, int step) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  LoadMatrices(b, tile + row * (kDim * 2) + StepOffset(TileOffset<kDim>(lane / 16 * 8 + lane % 8, lane / 8 % 2), step));
}
// As two right ones, the tile's rows as rows of b: rows [row, row + 16), b[0..1] of columns [16 step, + 8), b[2..3] of
// the next 8.
template <int kDim>
__device__ inline void LoadRightTransposed(uint32_t (&b)[4], const unsigned char* tile, int row, int step) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  LoadMatricesTransposed(b, tile + row * (kDim * 2) + StepOffset(TileOffset<kDim>(lane % 16, lane / 16), step));
}

}  // namespace cascade::kernels::cuda
