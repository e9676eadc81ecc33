// What one row sees of a (layer, KV head), as runs of consecutive entries cut into units of 16 keys: the walk over a
// session's cache of decode attention.
#pragma once

#include "kernels/cuda/attention_decode_plan.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/step_tables.h"

namespace cascade::kernels::cuda {

inline constexpr int kMaxPieces = 2 * kMaxSegments;  // a run that wraps is two

struct Piece {
  int entry;  // its first, in the block
  int count;
  int first_unit;
};

struct VisiblePieces {
  Piece pieces[kMaxPieces + 1];  // 2 s and 2 s + 1: of segment s, maybe empty; the last one is the end
  int units;
};

// By a warp; the others see it after a SyncBlock. segments: [num_segments], of a slice's first row.
__device__ inline void FindPieces(const CacheLayout& layout, const StepSegment* segments, VisiblePieces& visible) {
  static_assert(kMaxPieces == 32);
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int segment = lane / 2;
  Piece piece = {0, 0, 0};
  if (segment < layout.num_segments) {
    const int slots = layout.segment_slots[segment];
    const int count = static_cast<int>(segments[segment].count);
    const int first = count < slots ? static_cast<int>(segments[segment].first_slot) : 0;  // all of it: from its start
    const int before_end = min(count, slots - first);
    piece.entry = layout.first_entry[segment] + (lane % 2 == 0 ? first : 0);
    piece.count = lane % 2 == 0 ? before_end : count - before_end;
  }
  const int units = (piece.count + kUnitKeys - 1) / kUnitKeys;
  int end = units;
  for (int delta = 1; delta < 32; delta *= 2) {
    const int other = ShuffleUp(end, delta);
    if (lane >= delta) end += other;
  }
  piece.first_unit = end - units;
  visible.pieces[lane] = piece;
  if (lane == 31) {
    visible.pieces[kMaxPieces] = {0, 0, end};
    visible.units = end;
  }
}

struct Unit {
  int segment;
  int entry;  // of its first key
  int keys;   // 1..16, consecutive
};

// Finds units in ascending order.
class UnitWalk {
 public:
  __device__ Unit At(const VisiblePieces& visible, int unit) {
    while (unit >= visible.pieces[piece_ + 1].first_unit) ++piece_;
    const Piece& piece = visible.pieces[piece_];
    const int offset = (unit - piece.first_unit) * kUnitKeys;
    return {piece_ / 2, piece.entry + offset, min(kUnitKeys, piece.count - offset)};
  }

 private:
  int piece_ = 0;
};

// Where the row's own key is.
struct NewKey {
  int entry;
  int unit;
  int place;  // in the unit
};

__device__ inline NewKey FindNewKey(const CacheLayout& layout, const StepSlice& slice, const VisiblePieces& visible) {
  const int segment = slice.sinks != 0 ? 0 : 1;
  NewKey key = {layout.first_entry[segment] + static_cast<int>(slice.write_slot), -1, 0};
  for (int half = 0; half < 2; ++half) {
    const Piece& piece = visible.pieces[2 * segment + half];
    const int offset = key.entry - piece.entry;
    if (offset < 0 || offset >= piece.count) continue;
    key.unit = piece.first_unit + offset / kUnitKeys;
    key.place = offset % kUnitKeys;
  }
  return key;
}

}  // namespace cascade::kernels::cuda
