#include "kernels/cache_checks.h"

#include <cstdint>
#include <limits>

#include "absl/strings/str_cat.h"
#include "kernels/base/check.h"

namespace cascade::kernels {

absl::Status CheckCacheShape(const CacheShape& shape) {
  const auto invalid = [](const auto&... parts) {
    return absl::InvalidArgumentError(absl::StrCat("cache: ", parts...));
  };
  if (shape.num_layers < 1 || shape.num_kv_heads < 1 || shape.group < 1) {
    return invalid("needs at least one layer, KV head and query head, got ", shape.num_layers, ", ", shape.num_kv_heads,
                   " and ", shape.group);
  }
  if (static_cast<int>(shape.rope.frequency.size()) != shape.head_dim / 2) {
    return invalid("needs ", shape.head_dim / 2, " rope frequencies, got ", shape.rope.frequency.size());
  }
  if (shape.num_sinks < 0) return invalid("num_sinks must not be negative, got ", shape.num_sinks);
  if (shape.ring_slots.empty()) return invalid("needs at least one ring");
  int64_t total = shape.num_sinks;
  for (const int slots : shape.ring_slots) {
    if (slots < 1) return invalid("a ring needs at least one slot, got ", slots);
    total += slots;
  }
  if (total > std::numeric_limits<int>::max() / 2) return invalid("has too many slots: ", total);
  if (shape.stride < 1 || shape.stride > shape.ring_slots[0]) {
    return invalid("stride must be 1 to the ", shape.ring_slots[0], " slots of ring 0, got ", shape.stride);
  }
  if (shape.selection_group < 1 || (shape.num_rings() > 1 && shape.selection_group > shape.stride)) {
    return invalid("selection_group must be 1 to the stride of ", shape.stride, ", got ", shape.selection_group);
  }
  if (!(shape.ema_decay > 0 && shape.ema_decay <= 1)) {
    return invalid("ema_decay must be above 0 and at most 1, got ", shape.ema_decay);
  }
  return absl::OkStatus();
}

void CheckSlice(std::span<const int> segment_slots, int stride, const Slice& slice) {
  CASCADE_CHECK(slice.num_rows > 0 && slice.first_row >= 0);
  CASCADE_CHECK(slice.segments.size() == segment_slots.size());
  const int written = slice.sinks ? 0 : 1;
  CASCADE_CHECK(slice.segments[written].grows && slice.segments[written].count > 0);  // a row sees itself
  CASCADE_CHECK(slice.write_slot < static_cast<uint32_t>(segment_slots[written]));
  CASCADE_CHECK(slice.sinks || (slice.open_place >= 0 && slice.open_place + slice.num_rows <= stride));
  for (size_t s = 0; s < segment_slots.size(); ++s) {
    const Segment& segment = slice.segments[s];
    const int64_t last = int64_t{segment.count} + (segment.grows ? slice.num_rows - 1 : 0);
    CASCADE_CHECK(last <= segment_slots[s]);
    CASCADE_CHECK(last == 0 || segment.first_slot < static_cast<uint32_t>(segment_slots[s]));
  }
}

absl::Status CheckHead(int num_slots, int num_layers, int num_kv_heads, int slot, int layer, int kv_head) {
  if (slot >= 0 && slot < num_slots && layer >= 0 && layer < num_layers && kv_head >= 0 && kv_head < num_kv_heads) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat("cache: no slot ", slot, ", layer ", layer, ", KV head ", kv_head,
                                                 "; there are ", num_slots, ", ", num_layers, " and ", num_kv_heads));
}

}  // namespace cascade::kernels
