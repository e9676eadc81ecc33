// Where the entries of a session's cache lie in its slot of the device's pool.
//
// A slot holds one block per (layer, KV head). In a block the segments (sinks, ring 0 .. N-1) follow each other, each
// padded to a multiple of 16 entries:
//   keys, values           [entries][row_elements] of 16 bits; row_elements: head_dim rounded up to a size that kernels
//                          are compiled for (64, 128, 256); the rest is zero and stays so
//   scores, distinctness   (float), tokens (uint32_t): [entries]
//   sums                   (float) [G][entries], only with max reduction: attention of the open stride
// The parts are 128-byte aligned. Entries of the padding are zero and stay so. Plain values: kernels take it by value.
#pragma once

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "kernels/cache_shape.h"

namespace cascade::kernels::cuda {

inline constexpr int kMaxRings = 15;
inline constexpr int kMaxSegments = kMaxRings + 1;
inline constexpr int kMaxGroup = 16;
inline constexpr int kMaxHeadDim = 256;
inline constexpr int kMaxSelectionGroup = 4096;

struct CacheLayout {
  int num_layers, num_kv_heads, group, head_dim;
  int row_elements;
  int num_segments;                 // N + 1
  int segment_slots[kMaxSegments];  // [0]: sinks
  int first_entry[kMaxSegments];    // multiples of 16
  int entries;
  int stride;           // S
  int selection_group;  // g
  int selection;        // Selection
  bool max_reduction;
  bool interleaved;    // RopePairs::kInterleaved
  float stride_decay;  // beta^S
  double ema_decay;
  // Byte offsets in a block.
  size_t values_offset, scores_offset, distinctness_offset, tokens_offset, sums_offset;
  size_t block_bytes;
  size_t slot_bytes;  // num_layers * num_kv_heads * block_bytes
};

// INVALID_ARGUMENT texts of CheckDeviceCacheShape first: this CHECKs.
CacheLayout MakeCacheLayout(const CacheShape& shape);

// INVALID_ARGUMENT for a shape that the CUDA ops do not have.
absl::Status CheckDeviceCacheShape(const CacheShape& shape);

}  // namespace cascade::kernels::cuda
