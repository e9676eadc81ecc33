// Which rows one set of attention launches serves, and the memory between its kernels: rotate_queries,
// attention_prefill, attention_scores. Kernels take these by value.
#pragma once

#include "kernels/cuda/step_tables.h"

namespace cascade::kernels::cuda {

// Rows [row_begin, row_end) of each of consecutive slices, or fewer when a slice ends before.
struct AttentionPart {
  int first_slice;
  int num_slices;
  int row_begin, row_end;
};

// Row j of a part's i-th slice has the place i * (row_end - row_begin) + j - row_begin here.
struct AttentionScratch {
  // [segments][heads][rows][row_elements] of bfloat16: queries as rotated for a segment, times log2(e) /
  // sqrt(head_dim); zero where the row sees nothing of the segment
  void* queries;
  float* lse;  // [heads][rows]: log2 of the sum of 2^logit
  int rows;
};

#ifdef __CUDACC__
#define CASCADE_DEVICE_INLINE __device__ inline
#else
#define CASCADE_DEVICE_INLINE inline
#endif

// A segment as a slice's rows see it. Its first slot seen has place 0; row j sees the places below Limit(j).
struct SeenSegment {
  int first_slot, count, slots, first_entry;
  bool grows;

  CASCADE_DEVICE_INLINE int Limit(int row) const { return count + (grows ? row : 0); }
  // Beyond all limits for slots that the segment does not have.
  CASCADE_DEVICE_INLINE int Place(int slot) const {
    if (slot >= slots) return 0x7FFFFFFF;
    return slot >= first_slot ? slot - first_slot : slot - first_slot + slots;
  }
  // The first row that sees a place, if any does.
  CASCADE_DEVICE_INLINE int FirstRow(int place) const { return place < count ? 0 : place - count + 1; }
  // The next tile of so many slots that holds places below the limit, from `tile` on; -1: none.
  CASCADE_DEVICE_INLINE int NextTile(int tile_slots, int tile, int limit) const {
    if (limit <= 0) return -1;
    const int end = first_slot + limit;
    const int wrapped_end = end - slots;  // of the part that begins at slot 0
    if (tile * tile_slots < wrapped_end) return tile;
    const int first = first_slot / tile_slots;
    if (tile < first) tile = first;
    return tile * tile_slots < (end < slots ? end : slots) ? tile : -1;
  }
  // All of the slots [begin, end) have places below the limit. False sometimes when they do and wrap: a hint only.
  CASCADE_DEVICE_INLINE bool AllBelow(int begin, int end, int limit) const {
    return end <= slots && (limit >= slots || Place(begin) + end - begin <= limit);
  }
};

CASCADE_DEVICE_INLINE SeenSegment MakeSeenSegment(const CacheLayout& layout, const StepTables& tables, int slice,
                                                  int segment) {
  const StepSegment from = tables.segments[slice * layout.num_segments + segment];
  return {.first_slot = static_cast<int>(from.first_slot),
          .count = static_cast<int>(from.count),
          .slots = layout.segment_slots[segment],
          .first_entry = layout.first_entry[segment],
          .grows = from.grows != 0};
}

#undef CASCADE_DEVICE_INLINE

}  // namespace cascade::kernels::cuda
