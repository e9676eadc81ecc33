// The cascading cache's bookkeeping in plain lists (cache.md, sections 2 to 4): no rings, no slots, no plan. Slow and
// easy to read; the product is compared with it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "engine/cache/cascade_geometry.h"

namespace cascade::test {

struct ReferenceEntry {
  int64_t token = 0;  // index in its session
  float score = 0;
  float distinctness = 0;
  int64_t index = 0;  // append index in its sub-cache
};

// Which of a group of candidates stay: the `keep` best by `selection`; a tie goes to the later token. Order unchanged.
std::vector<ReferenceEntry> SelectBest(std::span<const ReferenceEntry> group, int keep, kernels::Selection selection);

// One (layer, KV head) of one session.
class ReferenceCascade {
 public:
  explicit ReferenceCascade(const CascadeGeometry& geometry);

  // The next token: a sink, or a member of the open stride.
  void Feed(float score, float distinctness);
  bool StrideIsFull() const { return static_cast<int>(open_.size()) == geometry_.stride; }
  // Scores must have been folded in before.
  void CloseStride();

  int64_t tokens_seen() const { return seen_; }
  int sinks() const { return sinks_; }
  int64_t evicted() const { return evicted_; }
  int64_t appended(int i) const { return appended_[i]; }
  const std::vector<ReferenceEntry>& sub_cache(int i) const { return sub_caches_[i]; }  // oldest first
  const std::vector<ReferenceEntry>& open() const { return open_; }
  std::vector<ReferenceEntry> Residents() const;  // chronological; the open stride last
  // Calls f(entry) for every resident, open stride included.
  template <class F>
  void ForEach(F f) {
    for (auto& sub_cache : sub_caches_) {
      for (ReferenceEntry& entry : sub_cache) f(entry);
    }
    for (ReferenceEntry& entry : open_) f(entry);
  }

  // RoPE position of the query of open-stride token r when it meets the keys of sub-cache i.
  int64_t QueryIndex(int i, int r) const;
  // "34 37 ; 50 51": old to new, without the open stride.
  std::string Content() const;

 private:
  const CascadeGeometry geometry_;
  int64_t seen_ = 0;
  int64_t evicted_ = 0;
  int sinks_ = 0;
  std::vector<std::vector<ReferenceEntry>> sub_caches_;
  std::vector<int64_t> appended_;
  std::vector<ReferenceEntry> open_;
};

}  // namespace cascade::test
