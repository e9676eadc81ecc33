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

// The next of a segment's tiles of so many slots that holds places below `limit`, from `tile` on; -1: none.
template <int kSlots>
__device__ int NextTile(const SeenSegment& segment, int tile, int limit) {
  if (limit <= 0) return -1;
  const int end = segment.first_slot + limit;
  const int wrapped_end = end - segment.slots;  // of the part that begins at slot 0
  if (tile * kSlots < wrapped_end) return tile;
  tile = max(tile, segment.first_slot / kSlots);
  return tile * kSlots < min(end, segment.slots) ? tile : -1;
}

// The first place of a segment whose keys are all counted in the prediction; those before it are sampled. least: what
// the tile's first row sees.
__device__ inline int RecentPlace(const SeenSegment& seen, int segment, int least) {
  if (segment == 0) return 0;
  return seen.grows ? max(least - kRecentKeys, 0) : seen.count;
}

// The segment without its first `place` places.
__device__ inline SeenSegment From(SeenSegment seen, int place) {
  seen.first_slot += place;
  if (seen.first_slot >= seen.slots) seen.first_slot -= seen.slots;
  seen.count -= place;
  return seen;
}

}  // namespace cascade::kernels::cuda::sm90
