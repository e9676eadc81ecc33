#pragma once

#include "engine/turn_request.h"

namespace cascade {

// Who is told what a turn produces (engine/token_stream.h is one).
class TurnFollower {
 public:
  virtual ~TurnFollower() = default;
  // In order; none after one that is finished. Must not block.
  virtual void Push(TurnDelta delta) = 0;
};

}  // namespace cascade
