// What the roles of a block of the forward kernel share: its shared memory, and which rows and keys it is about.
#pragma once

#include "kernels/cuda/sm90/attention_forward.h"
#include "kernels/cuda/sm90/attention_tiles.h"
#include "kernels/cuda/sm90/instructions.h"
#include "kernels/cuda/sm90/pipeline.h"

namespace cascade::kernels::cuda::sm90::forward {

inline constexpr int kGroups = 2;  // warpgroups that multiply, 64 of the tile's rows each
inline constexpr int kMultipliers = 128 * kGroups;
inline constexpr int kThreads = 128 + kMultipliers;
inline constexpr int kWarps = 4 * kGroups;
inline constexpr int kSumStages = 4;
inline constexpr int kPanelBytes = kTileKeys * 128;  // 64 columns of keys, values or queries
inline constexpr int kFirstTurn = 1;                 // ids of SyncThreads: whose turn it is to multiply
inline constexpr float kInfinity = __builtin_huge_valf();

template <int kDim>
struct Shape {
  static constexpr int kPanels = kDim / 64;
  static constexpr int kTileBytes = kPanels * kPanelBytes;
  static constexpr int kStages = 2;
  static constexpr int kSumBytes = kWarps * kTileKeys * sizeof(float);
  static constexpr int kSumsAt = (2 + 2 * kStages) * kTileBytes;
  static constexpr int kSharedBytes = kSumsAt + kSumStages * kSumBytes + 1024;  // panels are aligned by the kernel
};

// What a stage of keys holds.
struct alignas(8) StagedTile {
  int first_slot;
  int bits;  // -1: the walk is over

  // masked: not all rows see all of its keys, or are there. sampled: its keys are sample_step slots apart.
  __device__ static StagedTile Make(int segment, int first_slot, int query_buffer, bool masked, bool sampled) {
    return {first_slot, segment << 3 | query_buffer << 2 | static_cast<int>(masked) << 1 | static_cast<int>(sampled)};
  }
  __device__ bool end() const { return bits < 0; }
  __device__ int segment() const { return bits >> 3; }
  __device__ int query_buffer() const { return bits >> 2 & 1; }
  __device__ bool masked() const { return (bits & 2) != 0; }
  __device__ bool sampled() const { return (bits & 1) != 0; }
};

template <int kStages>
struct Control {
  Barrier query_full[2], query_empty[2];
  Barrier key_full[kStages], key_empty[kStages];
  Barrier value_full[kStages], value_empty[kStages];
  Barrier sums_full[kSumStages], sums_empty[kSumStages];
  StagedTile tiles[kStages];
  int sum_slots[kSumStages];  // first slot, -1: no more
  int sum_segment[kSumStages];
};

// What the block's roles share: which rows and keys it is about.
struct Block {
  SeenSegment segments[kMaxSegments];
  int least[kMaxSegments], most[kMaxSegments];  // limits of the tile's first and last row
  bool partial;  // not all of the tile's rows are the slice's: what was copied for the others may be anything
};

}  // namespace cascade::kernels::cuda::sm90::forward
