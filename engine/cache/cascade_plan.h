// Where a session's tokens are: the integers of cache.md, sections 2 and 4. A function of the number of tokens seen;
// independent of scores, equal for all layers and heads.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/cache/cascade_geometry.h"
#include "kernels/backend.h"

namespace cascade {

// A value: copyable, no references but the geometry, which must outlive it. Not synchronised.
class CascadePlan {
 public:
  // The state after `tokens_seen` tokens, in time that does not depend on their number.
  explicit CascadePlan(const CascadeGeometry& geometry, int64_t tokens_seen = 0);

  int64_t tokens_seen() const { return tokens_seen_; }
  int sinks() const;                                       // held: min(tokens seen, s)
  int open_tokens() const { return open_; }                // r: tokens in the open stride
  int64_t strides_closed() const { return closed_; }
  int resident(int i) const { return resident_[i]; }       // m_i
  int64_t appended(int i) const { return appended_[i]; }   // a_i
  int64_t tokens_resident() const;                         // sinks, residents and open stride
  int64_t tokens_evicted() const { return tokens_seen_ - tokens_resident(); }

  // How many tokens the next slice may have: up to the end of the sinks, or of the open stride. Never 0.
  int TokensUntilCut() const;

  // The slice of the next `count` <= TokensUntilCut() tokens; fills `segments` [N + 1], to which the slice refers.
  // Leaves slot and first_row to the caller.
  kernels::Slice NextSlice(int count, std::vector<kernels::Segment>& segments) const;
  void Advance(int count);

  bool StrideIsFull() const { return open_ == geometry_->stride; }
  // Closes the full stride: fills `moves`, in the order of their execution, and moves on to the state after.
  kernels::Close CloseStride(std::vector<kernels::CloseMove>& moves);
  // Advance, and CloseStride if that fills it: where the moves were made already.
  void Follow(int count);

 private:
  const CascadeGeometry* geometry_;
  int64_t tokens_seen_ = 0;
  int64_t closed_ = 0;
  int open_ = 0;
  std::vector<int> resident_;
  std::vector<int64_t> appended_;
};

// Chronological contents of one (layer, KV head).
struct HeldToken {
  int64_t token = 0;     // index in its session
  int sub_cache = 0;     // -1 sinks, 0 .. N-1, N: open stride
  float score = 0;
  float distinctness = 0;
};
std::vector<HeldToken> HeldTokens(const CascadeGeometry& geometry, const CascadePlan& plan,
                                  const kernels::HeadContents& contents);

}  // namespace cascade
