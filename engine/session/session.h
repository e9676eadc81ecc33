// A session: what lives between its requests. Constant in size, however many tokens it has seen: no ids are kept.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "engine/cache/cascade_plan.h"
#include "engine/turn_request.h"

namespace cascade {

// What a cache slot holds, and the one token that it does not.
//
// A session's last token is always pending: it belongs to the session and counts in its position, but is fed only by
// the next turn. So every turn, an empty prompt included, has a row to sample from, and the first token of a prompt can
// be scored; and what the slot holds is a function of the session's ids.
struct SessionCache {
  explicit SessionCache(const CascadeGeometry& geometry) : plan(geometry) {}

  int slot = -1;                   // -1: none yet
  CascadePlan plan;                // of the tokens fed
  std::optional<int32_t> pending;  // no value: the session has no tokens

  int64_t position() const { return plan.tokens_seen() + (pending.has_value() ? 1 : 0); }
};

enum class SessionState : uint8_t { kResident, kBusy };

// A snapshot; of a busy session, as it was before the turn.
struct SessionInfo {
  std::string id;
  std::string label;
  SessionState state = SessionState::kResident;
  int64_t position = 0;  // tokens of its whole life, fed or sampled
  int64_t tokens_resident = 0;
  int64_t tokens_evicted = 0;
  int64_t turns = 0;
  std::chrono::system_clock::time_point created;
  std::chrono::system_clock::time_point last_used;
  std::optional<std::chrono::system_clock::time_point> expires;
  FinishReason last_finish = FinishReason::kNone;
};

struct SessionPage {
  std::vector<SessionInfo> sessions;  // oldest first
  std::string next_page_token;
};

// The store's record; all of it is guarded by the store's mutex.
struct Session {
  explicit Session(const CascadeGeometry& geometry) : cache(geometry) {}

  std::string id;  // 128 random bits in hexadecimal
  std::string label;
  uint64_t generation = 0;  // order of creation; never used twice
  SessionCache cache;       // while busy: as before the turn, which works on a copy
  ReplyEnd reply_end = ReplyEnd::kNone;
  bool busy = false;
  bool listed = true;            // false once deleted; its slot is free when the last turn has ended
  std::function<void()> cancel;  // ends the running turn soon; set while busy
  int64_t turns = 0;
  std::chrono::system_clock::time_point created;
  std::chrono::system_clock::time_point last_used;
  std::chrono::steady_clock::time_point idle_since;  // expiry counts from here: the wall clock may jump
  FinishReason last_finish = FinishReason::kNone;
};

// What people see of it. `ttl` 0: no expiry.
SessionInfo DescribeSession(const Session& session, const CascadeGeometry& geometry, std::chrono::seconds ttl);

// [A-Za-z0-9_-]{0,64}; INVALID_ARGUMENT names the field.
absl::Status ValidateLabel(const std::string& label);

}  // namespace cascade
