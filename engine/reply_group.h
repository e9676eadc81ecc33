#pragma once

#include <cstdint>

namespace cascade {

class Turn;

// Turns that reply to one prompt, which one of them reads: the first to start, the leader. The others begin with a copy
// of its slot when it has read all but the last id. Those that come too late for that find what an earlier one has left
// in the prefix cache, or read by themselves; when the leader ends before that, the next to start leads. Shared by the
// turns; the engine thread's, once they are queued.
struct ReplyGroup {
  enum class Prompt : uint8_t { kUnread, kReading, kRead };

  Prompt prompt = Prompt::kUnread;
  const Turn* leader = nullptr;
  int64_t leader_id = -1;  // among the turns that run
};

}  // namespace cascade
