// How the kernels of this folder cut caches and rows into tiles.
#pragma once

#include "kernels/cuda/attention_part.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/sm90/attention_shape.h"

namespace cascade::kernels::cuda::sm90 {

inline int RowTiles(const AttentionPart& part, int tile_tokens) {
  return (part.row_end - part.row_begin + tile_tokens - 1) / tile_tokens;
}

// Of what is kept per [slice of the part][row tile][KV head].
__device__ inline size_t TileIndex(int slice, int tile, int tiles, int kv_head, int kv_heads) {
  return (static_cast<size_t>(slice) * tiles + tile) * kv_heads + kv_head;
}

// By a warp: the certificate of a (slice, KV head), from those of its row tiles, which are infinite or the attention
// that went wrong, and from how much there was of it.
__device__ inline float HeadCertificate(const float* certificates, const float* weights, int slice, int tiles,
                                        int kv_head, int kv_heads) {
  float wrong = 0, all = 0;
  for (int tile = static_cast<int>(threadIdx.x) % 32; tile < tiles; tile += 32) {
    const size_t at = TileIndex(slice, tile, tiles, kv_head, kv_heads);
    wrong += certificates[at];
    all += weights[at];
  }
  wrong = WarpSum(wrong), all = WarpSum(all);
  return all > 0 ? wrong / all : 0.0f;
}

// Whether the head's predicted scores are taken. Not what is infinite, or no number.
__device__ inline bool IsWithin(float certificate, float limit) {
  return certificate <= limit && certificate < __builtin_huge_valf();
}

// The first place of a segment whose keys are all counted in the prediction; those before it are sampled. least: what
// the tile's first row sees.
__device__ inline int RecentPlace(const SeenSegment& seen, int segment, int least) {
  if (segment == 0) return 0;
  return seen.grows ? max(least - kRecentKeys, 0) : seen.count;
}

// A row's weight in scores, 1 where there are none. Predictions are for weights that are not tiny.
__device__ inline float WeightOf(const StepTables& tables, const StepSlice& slice, int row, bool valid) {
  return !valid ? 0.0f : slice.sinks != 0 ? 1.0f : tables.weights[slice.first_row + row];
}

// The segment without its first `place` places.
__device__ inline SeenSegment From(SeenSegment seen, int place) {
  seen.first_slot += place;
  if (seen.first_slot >= seen.slots) seen.first_slot -= seen.slots;
  seen.count -= place;
  return seen;
}

}  // namespace cascade::kernels::cuda::sm90
