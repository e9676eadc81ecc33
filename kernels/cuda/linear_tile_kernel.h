// The kernel of linear_tile. Device code only.
#pragma once

#include <cstdint>

#include "kernels/cuda/device.h"
#include "kernels/cuda/linear_epilogue.h"
#include "kernels/cuda/linear_targets.h"
#include "kernels/cuda/linear_tile.h"
#include "kernels/cuda/weight_fragments.h"

namespace cascade::kernels::cuda {

inline constexpr int kTileWarps = 8;
inline constexpr int kTileThreads = 32 * kTileWarps;
inline constexpr int kTileWeightRows = 128;  // of a tile: four pairs of warps, two fragments each
inline constexpr int kMostTileStages = 6;
inline constexpr size_t kPartialBytes = size_t{kTileWeightRows} * kTileRows * sizeof(float);

struct TileCall {
  LinearTargets targets;  // items are tiles
  const void* x;          // [rows, cols]
  int rows;               // at most 8 * kTokens
  int cols;
  int steps;   // of a tile: stages' columns that cover cols
  int stages;  // 1 .. kMostTileStages, in shared memory
  unsigned char* partials;
  unsigned* arrivals;
};

// A stage in shared memory: [8 warps][2] fragments, then x [8 * kTokens] rows of two fragments' columns.
template <WeightFormat format, int kTokens>
struct TileStage {
  using F = Fragment<format>;
  static constexpr int kColumns = 2 * F::kColumns;
  static constexpr int kWeightBytes = kTileWarps * 2 * F::kBytes;
  static constexpr int kRowBytes = 2 * kColumns;
  static constexpr int kBytes = kWeightBytes + 8 * kTokens * kRowBytes;
  static constexpr int kExchangeBytes = kTokens * kTileThreads * 16;
  static constexpr int kChunks = 2 * F::kChunks;  // of a row of x

  // Even and odd rows are read together, from different banks.
  static __device__ int Place(int row, int place) { return row * kRowBytes + (place ^ (row % 2 * 4)) * 16; }
};

// Waits for all but the newest `pending` groups of copies.
__device__ inline void WaitStages(int pending) {
  switch (pending) {
    case -1:
    case 0:
      return WaitCopies<0>();
    case 1:
      return WaitCopies<1>();
    case 2:
      return WaitCopies<2>();
    case 3:
      return WaitCopies<3>();
    default:
      return WaitCopies<4>();
  }
}

// One block per multiprocessor. All steps of all tiles (128 rows of weights) are one list, of which every block takes
// an equal part, whatever tiles it begins and ends in: so all blocks end together. The order of a tile's columns, and
// where blocks divide it, does not depend on x. In a block, warp w has rows 32 (w / 2) .. of the tile and half w % 2 of
// a step's columns; both read every fragment of x once for 32 rows. Where blocks share a tile, each leaves its sums and
// the last to arrive adds them in the order of the columns.
template <WeightFormat format, class T, int kTokens>
__global__ void __launch_bounds__(kTileThreads, 1) TileKernel(const __grid_constant__ TileCall call) {
  using F = Fragment<format>;
  using Stage = TileStage<format, kTokens>;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int g = lane / 4, t = lane % 4;
  const int half = warp % 2;
  const int warp_row = warp / 2 * 32;

  const int64_t total = static_cast<int64_t>(call.targets.items) * call.steps;
  const int64_t blocks = gridDim.x;
  const int64_t begin = total * blockIdx.x / blocks, end = total * (blockIdx.x + 1) / blocks;

  __shared__ bool is_last;
  float4* const exchange = reinterpret_cast<float4*>(SharedMemory());
  unsigned char* const ring = SharedMemory() + Stage::kExchangeBytes;

  // The next step to fetch.
  int fetch_tile = static_cast<int>(begin / call.steps), fetch_step = static_cast<int>(begin % call.steps);
  int64_t to_fetch = end - begin;
  FragmentRows fetch_rows[2];
  const auto set_rows = [&] {
    const LinearTargets::Target& target = TargetOf(call.targets, fetch_tile);
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int64_t row =
          static_cast<int64_t>(fetch_tile - target.first_item) * kTileWeightRows + warp_row + 16 * i + g;
      F::SetRow(fetch_rows[i], 0, target.weight, row);
      F::SetRow(fetch_rows[i], 1, target.weight, row + 8);
    }
  };
  const auto fetch_weights = [&](unsigned char* stage, int step) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      F::Fetch(fetch_rows[i], 2 * step + half, call.cols, stage + (2 * warp + i) * F::kBytes);
    }
  };
  const auto fetch_x = [&](unsigned char* stage, int step) {
    for (int i = threadIdx.x; i < 8 * kTokens * Stage::kChunks; i += kTileThreads) {
      const int row = i / Stage::kChunks, chunk = i % Stage::kChunks;
      const int column = step * Stage::kColumns + 8 * chunk;
      const int place = chunk / F::kChunks * F::kChunks + F::ChunkPlace(chunk % F::kChunks);
      CopyAsync16(stage + Stage::kWeightBytes + Stage::Place(row, place),
                  static_cast<const T*>(call.x) + static_cast<int64_t>(row) * call.cols + column,
                  row < call.rows && column < call.cols);
    }
  };
  const auto advance = [&] {
    --to_fetch;
    if (++fetch_step < call.steps || to_fetch == 0) return;
    fetch_step = 0;
    ++fetch_tile;
    set_rows();
  };

  // The first stages: weights are constants, and come while the kernel before this one ends.
  const int first_tile = fetch_tile, first_step = fetch_step;
  const int ahead = static_cast<int>(min(static_cast<int64_t>(call.stages - 1), to_fetch));
  set_rows();
  for (int i = 0; i < ahead; ++i) {
    fetch_weights(ring + i * Stage::kBytes, fetch_step);
    advance();
  }
  WaitForPrevious();
  AllowNext();
  for (int i = 0; i < call.stages - 1; ++i) {
    if (i < ahead) fetch_x(ring + i * Stage::kBytes, (first_step + i) % call.steps);
    CommitCopies();
  }

  int tile = first_tile, step = first_step;
  int stage = 0;
  float acc[2][kTokens][4] = {};
  for (int64_t at = begin; at < end; ++at) {
    WaitStages(call.stages - 2);
    SyncBlock();  // the stage is there for all, and the one before it free; a single stage is free
    {
      unsigned char* const free = ring + (stage == 0 ? call.stages - 1 : stage - 1) * Stage::kBytes;
      if (to_fetch > 0) {
        fetch_weights(free, fetch_step);
        fetch_x(free, fetch_step);
        advance();
      }
      CommitCopies();
    }
    if (call.stages == 1) {
      WaitStages(0);
      SyncBlock();
    }
    const unsigned char* const bytes = ring + stage * Stage::kBytes;
    stage = stage + 1 == call.stages ? 0 : stage + 1;
    F fragment[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) fragment[i].Read(bytes + (2 * warp + i) * F::kBytes);
    const unsigned char* const x = bytes + Stage::kWeightBytes;
#pragma unroll
    for (int s = 0; s < F::kSteps; ++s) {
      uint32_t first[2][4], second[2][4];
#pragma unroll
      for (int i = 0; i < 2; ++i) fragment[i].template Operands<T>(s, first[i], second[i]);
#pragma unroll
      for (int j = 0; j < kTokens; ++j) {
        const uint4 b = *reinterpret_cast<const uint4*>(x + Stage::Place(8 * j + g, half * F::kChunks + 4 * s + t));
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          MultiplyAdd<T>(acc[i][j], first[i], {b.x, b.y});
          MultiplyAdd<T>(acc[i][j], second[i], {b.z, b.w});
        }
      }
    }
    if (++step < call.steps && at + 1 < end) continue;

    // The block's part of the tile is done. The warps of a pair exchange halves: fragment `half` is this one's.
    float sums[kTokens][4];
#pragma unroll
    for (int j = 0; j < kTokens; ++j) {
      float give[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) give[i] = half == 0 ? acc[1][j][i] : acc[0][j][i];
      exchange[j * kTileThreads + threadIdx.x] = make_float4(give[0], give[1], give[2], give[3]);
    }
    SyncBlock();
#pragma unroll
    for (int j = 0; j < kTokens; ++j) {
      const float4 other = exchange[j * kTileThreads + (threadIdx.x ^ 32)];
      const float from[4] = {other.x, other.y, other.z, other.w};
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        sums[j][i] = (half == 0 ? acc[0][j][i] : acc[1][j][i]) + from[i];
        acc[0][j][i] = acc[1][j][i] = 0;
      }
    }

    const int64_t tile_begin = static_cast<int64_t>(tile) * call.steps, tile_end = tile_begin + call.steps;
    bool complete = true;
    if (begin > tile_begin || end < tile_end) {
      // Block b leaves its sums at 2 b, or at 2 b + 1 those of a tile that it began.
      const auto partial = [&](int64_t block) {
        const bool began = total * block / blocks <= tile_begin;
        return reinterpret_cast<float4*>(call.partials + (2 * block + began) * kPartialBytes) + threadIdx.x;
      };
      float4* const own = partial(blockIdx.x);
#pragma unroll
      for (int j = 0; j < kTokens; ++j) {
        own[j * kTileThreads] = make_float4(sums[j][0], sums[j][1], sums[j][2], sums[j][3]);
      }
      const int64_t first_block = ((tile_begin + 1) * blocks - 1) / total;
      const int64_t last_block = (tile_end * blocks - 1) / total;
      __threadfence();
      SyncBlock();
      if (threadIdx.x == 0) {
        const unsigned others = static_cast<unsigned>(last_block - first_block);
        is_last = atomicAdd(call.arrivals + tile, 1u) == others;
        if (is_last) call.arrivals[tile] = 0;
        __threadfence();
      }
      SyncBlock();
      complete = is_last;
      if (complete) {
#pragma unroll
        for (int j = 0; j < kTokens; ++j) sums[j][0] = sums[j][1] = sums[j][2] = sums[j][3] = 0;
        for (int64_t block = first_block; block <= last_block; ++block) {
          const float4* const from = partial(block);
#pragma unroll
          for (int j = 0; j < kTokens; ++j) {
            const float4 v = __ldcg(from + j * kTileThreads);
            sums[j][0] += v.x, sums[j][1] += v.y, sums[j][2] += v.z, sums[j][3] += v.w;
          }
        }
      }
    }
    if (complete) {
      const LinearTargets::Target& target = TargetOf(call.targets, tile);
      const int64_t row = static_cast<int64_t>(tile - target.first_item) * kTileWeightRows + warp_row + 16 * half + g;
#pragma unroll
      for (int j = 0; j < kTokens; ++j) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int64_t m = 8 * j + 2 * t + i % 2, n = row + i / 2 * 8;
          if (m < call.rows && n < target.weight.rows) Store<T>(target, m, n, sums[j][i] + Addend(target, m, n));
        }
      }
    }
    step = 0;
    ++tile;
  }
}

}  // namespace cascade::kernels::cuda
