// What a session's newest Generate turn has said so far, for callers that lost their connection and come back.
//
// Its memory is that of one reply. The engine thread adds; any thread follows. Who follows gets a stream of their own;
// leaving it, or cancelling it, changes nothing for the turn.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/session/turn_follower.h"
#include "engine/turn_request.h"
#include "kernels/base/mutex.h"

namespace cascade {

class TurnLog {
 public:
  explicit TurnLog(std::string turn_id) : turn_id_(std::move(turn_id)) {}

  const std::string& turn_id() const { return turn_id_; }
  // The producer's; in order. After a delta with `finished` no more may come.
  void Add(const TurnDelta& delta);
  // What came after the first `from_seq` tokens, and what will. INVALID_ARGUMENT: there are not so many.
  // RESOURCE_EXHAUSTED: too many follow it. A follower that nobody else holds any more is forgotten.
  absl::Status Follow(int64_t from_seq, const std::shared_ptr<TurnFollower>& follower);
  bool finished();

 private:
  struct Mark {
    int64_t seq;   // tokens
    size_t bytes;  // of text
  };

  const std::string turn_id_;
  Mutex mutex_;
  TurnDelta all_ CASCADE_GUARDED_BY(mutex_);
  std::vector<Mark> marks_ CASCADE_GUARDED_BY(mutex_);  // after every delta
  std::vector<std::shared_ptr<TurnFollower>> followers_ CASCADE_GUARDED_BY(mutex_);
};

}  // namespace cascade
