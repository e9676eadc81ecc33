// A one-head cache without keys: it executes the integers of a CascadePlan (slices, close moves) on arrays of slots and
// watches that no entry is overwritten before it has left.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "engine/cache/cascade_geometry.h"
#include "engine/cache/cascade_plan.h"
#include "kernels/backend.h"
#include "tests/support/reference_policy.h"

namespace cascade::test {

class ReplayedHead {
 public:
  explicit ReplayedHead(const CascadeGeometry& geometry);

  // Stores the slice's rows; [num_rows] each.
  void Append(const kernels::Slice& slice, std::span<const float> scores, std::span<const float> distinctness);
  // Executes a close. `after` is the plan that has made it: what it no longer holds of the last ring is forgotten
  // first.
  void Close(const kernels::Close& close, const CascadePlan& after);

  // What row `row` of a slice sees in a segment (0: sinks, i + 1: ring i), in the segment's order.
  std::vector<ReferenceEntry> Seen(const kernels::Slice& slice, int segment, int row) const;
  // Ring i by append index, oldest first, as `plan` says; open stride not included (i = N: open stride).
  std::vector<ReferenceEntry> Ring(const CascadePlan& plan, int i) const;
  kernels::HeadContents Contents() const;
  template <class F>
  void ForEach(F f) {  // every live entry but sinks
    for (size_t i = 1; i < segments_.size(); ++i) {
      for (Slot& slot : segments_[i]) {
        if (slot.live) f(slot.entry);
      }
    }
  }

  // The first thing that went wrong, or "".
  const std::string& fault() const { return fault_; }

 private:
  struct Slot {
    ReferenceEntry entry;
    bool live = false;
  };
  void Report(const std::string& what);
  Slot& At(int ring, int64_t index) {
    return segments_[ring + 1][index % static_cast<int64_t>(segments_[ring + 1].size())];
  }
  const Slot& At(int ring, int64_t index) const {
    return segments_[ring + 1][index % static_cast<int64_t>(segments_[ring + 1].size())];
  }
  void Write(int ring, Slot& slot, const ReferenceEntry& entry);

  const CascadeGeometry geometry_;
  std::vector<std::vector<Slot>> segments_;  // [N + 1]: sinks, rings
  std::string fault_;
};

}  // namespace cascade::test
