#include "kernels/cpu/cache_layout.h"

#include <unistd.h>

namespace cascade::kernels {
namespace {

constexpr size_t kCacheLine = 64;

size_t RoundUp(size_t value, size_t multiple) { return (value + multiple - 1) / multiple * multiple; }

}  // namespace

CacheLayout::CacheLayout(const CacheShape& shape) : shape_(shape) {
  segment_slots_.push_back(shape.num_sinks);
  segment_slots_.insert(segment_slots_.end(), shape.ring_slots.begin(), shape.ring_slots.end());
  for (int segment = 0; segment < num_segments(); ++segment) {
    first_entry_.push_back(entries_);
    entries_ += int64_t{segment_tiles(segment)} * kTile;
  }
  value_stride_ = static_cast<int>(RoundUp(shape.head_dim, kTile));

  const size_t element = BlockBytes(shape.kv_type);
  const size_t column = entries_ * sizeof(float);
  values_offset_ = RoundUp(entries_ * shape.head_dim * element, kCacheLine);
  scores_offset_ = RoundUp(values_offset_ + entries_ * value_stride_ * element, kCacheLine);
  distinctness_offset_ = scores_offset_ + column;
  tokens_offset_ = distinctness_offset_ + column;
  sums_offset_ = tokens_offset_ + column;
  block_bytes_ = sums_offset_ + (shape.reduction == ScoreReduction::kMax ? shape.group * column : 0);
  // Whole pages, so that a slot can be given back to the system when it is cleared.
  slot_bytes_ = RoundUp(block_bytes_ * shape.num_layers * shape.num_kv_heads, sysconf(_SC_PAGESIZE));
}

HeadBlock CacheLayout::Block(std::byte* slot, int layer, int kv_head) const {
  std::byte* block = slot + (static_cast<size_t>(layer) * shape_.num_kv_heads + kv_head) * block_bytes_;
  return {.keys = block,
          .values = block + values_offset_,
          .scores = reinterpret_cast<float*>(block + scores_offset_),
          .distinctness = reinterpret_cast<float*>(block + distinctness_offset_),
          .tokens = reinterpret_cast<uint32_t*>(block + tokens_offset_),
          .sums = shape_.reduction == ScoreReduction::kMax ? reinterpret_cast<float*>(block + sums_offset_) : nullptr};
}

}  // namespace cascade::kernels
