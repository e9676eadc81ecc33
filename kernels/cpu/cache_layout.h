// Where the entries of a session's cache lie in its slot of the CPU pool.
//
// A slot holds one block per (layer, KV head). In a block the segments (sinks, ring 0 .. N-1) follow each other, each
// padded to whole tiles of 16 entries:
//   keys          [tiles][head_dim][16]   one vector holds the same element of 16 keys, so that logits need no
//                                         horizontal sums and are summed over head_dim in order for any number of rows
//   values        [entries][value_stride] value_stride: head_dim rounded up to 16, the rest stays zero
//   scores, distinctness (float), tokens (uint32_t), sums (float, [G], only with max reduction): [entries]
// Entries of the padding are zero and stay so.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/cache_shape.h"

namespace cascade::kernels {

inline constexpr int kTile = 16;  // entries of a key tile; also the padding of a value row
inline constexpr int kMaxHeadDim = 256;

// One (layer, KV head) of one slot.
struct HeadBlock {
  void* keys;           // of the KV type
  void* values;         // of the KV type
  float* scores;        // [entries]
  float* distinctness;  // [entries]
  uint32_t* tokens;     // [entries]
  float* sums;          // [G][entries]; null with mean reduction
};

// Immutable. Offsets and sizes are in bytes, entries and tiles are counted from the block's begin.
class CacheLayout {
 public:
  explicit CacheLayout(const CacheShape& shape);

  const CacheShape& shape() const { return shape_; }
  size_t slot_bytes() const { return slot_bytes_; }
  int value_stride() const { return value_stride_; }
  int num_segments() const { return static_cast<int>(segment_slots_.size()); }  // N + 1
  int64_t entries() const { return entries_; }

  // Segment 0 holds the sinks, segment i + 1 ring i.
  std::span<const int> segment_slots() const { return segment_slots_; }
  int segment_slots(int segment) const { return segment_slots_[segment]; }
  int segment_tiles(int segment) const { return (segment_slots_[segment] + kTile - 1) / kTile; }
  int64_t first_entry(int segment) const { return first_entry_[segment]; }  // a multiple of kTile
  // The entry of a ring's append index.
  int64_t RingEntry(int ring, int64_t index) const { return first_entry_[ring + 1] + index % segment_slots_[ring + 1]; }

  HeadBlock Block(std::byte* slot, int layer, int kv_head) const;

 private:
  CacheShape shape_;
  std::vector<int> segment_slots_;
  std::vector<int64_t> first_entry_;
  int value_stride_;
  int64_t entries_ = 0;
  size_t values_offset_;
  size_t scores_offset_;
  size_t distinctness_offset_;
  size_t tokens_offset_;
  size_t sums_offset_;
  size_t block_bytes_;
  size_t slot_bytes_;
};

}  // namespace cascade::kernels
