// What tensor copies need to know of the cache and of turned queries.
#pragma once

#include <cuda.h>

#include "absl/status/statusor.h"
#include "kernels/cuda/attention_part.h"
#include "kernels/cuda/step_tables.h"

namespace cascade::kernels::cuda::sm90 {

// Boxes are panels of 64 columns with 128-byte swizzling (instructions.h). Kernels take it by value.
struct AttentionMaps {
  CUtensorMap cache;  // [blocks][keys, values][entries][row_elements]; kTileKeys entries
  CUtensorMap
      samples;  // [blocks][keys, values][entries / step][step][row_elements]; kTileKeys entries, sample_step apart
  CUtensorMap queries;  // [segments * heads][rows][row_elements]; tile_tokens rows of the group's heads
  CUtensorMap rows;     // the same; kTileQueries rows of one head
  int tile_tokens;      // rows of a slice whose queries are a tile: as many as there is room for
  int query_rows;       // of the tile that are used: tile_tokens * G
  int sample_step;
};

// UNIMPLEMENTED when the driver does not know tensor copies.
absl::StatusOr<AttentionMaps> MakeAttentionMaps(const CachePool& pool, const AttentionScratch& scratch);

}  // namespace cascade::kernels::cuda::sm90
