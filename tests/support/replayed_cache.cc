#include "tests/support/replayed_cache.h"

#include <algorithm>

namespace cascade::test {

ReplayedHead::ReplayedHead(const CascadeGeometry& geometry) : geometry_(geometry) {
  segments_.emplace_back(geometry.num_sinks);
  for (int i = 0; i < geometry.num_sub_caches(); ++i) segments_.emplace_back(geometry.ring_slots(i));
}

void ReplayedHead::Report(const std::string& what) {
  if (fault_.empty()) fault_ = what;
}

void ReplayedHead::Write(int ring, Slot& slot, const ReferenceEntry& entry) {
  if (slot.live) {
    Report("ring " + std::to_string(ring) + ": token " + std::to_string(slot.entry.token) + " at append index " +
           std::to_string(slot.entry.index) + " is overwritten by token " + std::to_string(entry.token));
  }
  slot = {entry, true};
}

void ReplayedHead::Append(const kernels::Slice& slice, std::span<const float> scores,
                          std::span<const float> distinctness) {
  const int segment = slice.sinks ? 0 : 1;
  const int64_t size = static_cast<int64_t>(segments_[segment].size());
  for (int row = 0; row < slice.num_rows; ++row) {
    // The RoPE position of a row's own key is its query's position in the segment that it joins.
    const int64_t index = slice.segments[segment].query_position + row;
    const int64_t place = (static_cast<int64_t>(slice.write_slot) + row) % size;
    if (place != index % size) Report("write_slot is not append index mod ring size");
    Write(segment - 1, segments_[segment][place], {slice.first_token + row, scores[row], distinctness[row], index});
  }
}

void ReplayedHead::Close(const kernels::Close& close, const CascadePlan& after) {
  const int last = geometry_.num_sub_caches() - 1;
  for (Slot& slot : segments_[last + 1]) {
    if (slot.entry.index < after.appended(last) - after.resident(last)) {
      // Not by moves of this close: what passes through the last ring is dropped only from a full cache.
      slot.live = false;
    }
  }
  if (close.stride_index != after.appended(0) - geometry_.stride)
    Report("stride_index is not the stride's first index");
  const int group = 2 * geometry_.selection_group;
  for (const kernels::CloseMove& move : close.moves) {
    if (move.count < 1 || move.from_ring >= move.to_ring || (move.select && move.count % group != 0)) {
      Report("a move is malformed");
      return;
    }
    std::vector<ReferenceEntry> moved;
    for (int e = 0; e < move.count; ++e) {
      Slot& slot = At(move.from_ring, move.from_index + e);
      if (!slot.live || slot.entry.index != move.from_index + e) {
        Report("a move reads append index " + std::to_string(move.from_index + e) + " of ring " +
               std::to_string(move.from_ring) + ", which is not there");
        return;
      }
      moved.push_back(slot.entry);
      slot.live = false;
    }
    if (move.select) {
      std::vector<ReferenceEntry> kept;
      for (int begin = 0; begin < move.count; begin += group) {
        const auto best = SelectBest(std::span(moved).subspan(begin, group), group / 2, geometry_.selection);
        kept.insert(kept.end(), best.begin(), best.end());
      }
      moved = std::move(kept);
    }
    for (size_t e = 0; e < moved.size(); ++e) {
      moved[e].index = move.to_index + static_cast<int64_t>(e);
      Write(move.to_ring, At(move.to_ring, moved[e].index), moved[e]);
    }
  }
  for (int i = 0; i <= last; ++i) {  // exactly what the plan says is there
    int live = 0;
    for (const Slot& slot : segments_[i + 1]) {
      if (!slot.live) continue;
      ++live;
      if (slot.entry.index < after.appended(i) - after.resident(i) || slot.entry.index >= after.appended(i)) {
        Report("ring " + std::to_string(i) + " holds append index " + std::to_string(slot.entry.index) +
               ", which has left");
      }
    }
    if (live != after.resident(i)) {
      Report("ring " + std::to_string(i) + " holds " + std::to_string(live) + " entries, the plan says " +
             std::to_string(after.resident(i)));
    }
  }
}

std::vector<ReferenceEntry> ReplayedHead::Seen(const kernels::Slice& slice, int segment, int row) const {
  const kernels::Segment& part = slice.segments[segment];
  const uint32_t count = part.count + (part.grows ? row : 0);
  std::vector<ReferenceEntry> seen;
  for (uint32_t e = 0; e < count; ++e) {
    seen.push_back(segments_[segment][(part.first_slot + e) % segments_[segment].size()].entry);
  }
  return seen;
}

std::vector<ReferenceEntry> ReplayedHead::Ring(const CascadePlan& plan, int i) const {
  const bool open = i == geometry_.num_sub_caches();
  const int ring = open ? 0 : i;
  const int64_t begin = open ? plan.appended(0) : plan.appended(i) - plan.resident(i);
  const int64_t end = open ? plan.appended(0) + plan.open_tokens() : plan.appended(i);
  std::vector<ReferenceEntry> entries;
  for (int64_t index = begin; index < end; ++index) entries.push_back(At(ring, index).entry);
  return entries;
}

kernels::HeadContents ReplayedHead::Contents() const {
  kernels::HeadContents contents;
  for (size_t i = 0; i < segments_.size(); ++i) {
    auto& tokens = contents.tokens.emplace_back();
    auto& scores = contents.scores.emplace_back();
    auto& distinctness = contents.distinctness.emplace_back();
    for (const Slot& slot : segments_[i]) {
      tokens.push_back(static_cast<uint32_t>(slot.entry.token));
      scores.push_back(i == 0 ? 0.0f : slot.entry.score);
      distinctness.push_back(i == 0 ? 0.0f : slot.entry.distinctness);
    }
  }
  return contents;
}

}  // namespace cascade::test
