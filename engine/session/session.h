// A session: what lives between its requests. Constant in size, however many tokens it has seen: its ids are in its
// journal, if it has one, and nowhere else.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "engine/base/token_digest.h"
#include "engine/cache/cascade_plan.h"
#include "engine/session/journal.h"
#include "engine/session/recent_ids.h"
#include "engine/session/turn_log.h"
#include "engine/session/vault.h"
#include "engine/turn_request.h"
#include "kernels/slot_copy.h"

namespace cascade {

// What a cache slot holds, and the one token that it does not.
//
// A session's last token is always pending: it belongs to the session and counts in its position, but is fed only by
// the next turn. So every turn, an empty prompt included, has a row to sample from, and the first token of a prompt can
// be scored; and what the slot holds is a function of the session's ids.
struct SessionCache {
  explicit SessionCache(const CascadeGeometry& geometry) : plan(geometry) {}

  int slot = -1;                   // -1: none
  CascadePlan plan;                // of the tokens fed
  uint64_t digest = 0;             // of the tokens fed (engine/base/token_digest.h)
  std::optional<int32_t> pending;  // no value: the session has no tokens
  RecentIds recent;                // the pending one is their last

  int64_t position() const { return plan.tokens_seen() + (pending.has_value() ? 1 : 0); }
  uint64_t position_digest() const {  // of all tokens
    return pending.has_value() ? ExtendTokenDigest(digest, std::span<const int32_t>(&*pending, 1)) : digest;
  }
};

// Where the cache of the tokens fed is.
enum class SessionHome : uint8_t {
  kNone,  // nowhere: nothing was fed
  kSlot,
  kHost,
  kDisk,  // to be made from the newest image that can be used, and the journal's ids after it
};

// Where a turn began, and what taking it back needs.
struct TurnStart {
  SessionCache cache;   // without a slot; its digest may not be known (0)
  uint64_t digest = 0;  // of all tokens
  ReplyEnd reply_end = ReplyEnd::kNone;
  FinishReason last_finish = FinishReason::kNone;
  int64_t turns = 0;                            // before it
  std::shared_ptr<kernels::HostMemory> scores;  // of the slot (kernels::SlotPart::kScores); null: not kept
};

enum class SessionState : uint8_t { kResident, kParkedHost, kParkedDisk, kBusy };

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
  Durability durability = Durability::kNone;
  uint64_t digest = 0;        // of all tokens
  int64_t journal_bytes = 0;  // on the disk
};

struct SessionPage {
  std::vector<SessionInfo> sessions;  // oldest first
  std::string next_page_token;
};

// The store's record; all of it is guarded by the store's mutex.
struct Session {
  explicit Session(const CascadeGeometry& geometry) : cache(geometry) {}

  std::string id;  // ToHex(key)
  SessionKey key = {};
  std::string label;
  uint64_t generation = 0;  // order of creation; never used twice
  Durability durability = Durability::kNone;
  std::shared_ptr<Journal> journal;   // null: the session ends with the process
  std::optional<FoundSession> found;  // on the disk since an earlier process; not read yet
  absl::Status damage;                // not OK: its files are damaged; it can be deleted and nothing else

  SessionCache cache;   // while busy: as before the turn, which works on a copy. Its digest is known in a slot or host
  uint64_t digest = 0;  // of all tokens
  SessionHome home = SessionHome::kNone;
  std::shared_ptr<kernels::HostMemory> host;  // kHost
  std::vector<int32_t> replay;                // kHost: ids that are fed already but not to what `host` holds (imports)
  ReplyEnd reply_end = ReplyEnd::kNone;
  std::deque<TurnStart> turn_starts;  // of the newest turns, oldest first
  // Null: it was none of Generate. The second is of the last one that counts, whatever became of later ones.
  std::shared_ptr<TurnLog> last_turn, acknowledged_turn;

  bool busy = false;    // a turn or a caller has it
  bool moving = false;  // between homes; a turn may have it already and waits then
  bool reading = false;
  bool listed = true;            // false once deleted; its slot is free when the last turn and move have ended
  std::function<void()> cancel;  // ends the running turn soon; set while busy
  int64_t turns = 0;
  std::chrono::system_clock::time_point created;
  std::chrono::system_clock::time_point last_used;
  std::chrono::steady_clock::time_point idle_since;  // expiry counts from here: the wall clock may jump
  FinishReason last_finish = FinishReason::kNone;
};

// What people see of it. `ttl` 0: no expiry.
SessionInfo DescribeSession(const Session& session, const CascadeGeometry& geometry, std::chrono::seconds ttl);

// Sets what a journal says of its session: all but where its cache is, which is on the disk.
void SetFromJournal(const CascadeGeometry& geometry, const JournalState& state, Session& session);
// The other way.
JournalState ToJournalState(const Session& session);

// A session that has these tokens and no cache of them yet.
SessionCache CacheAt(const CascadeGeometry& geometry, const JournalPlace& place);

// [A-Za-z0-9_-]{0,64}; INVALID_ARGUMENT names the field.
absl::Status ValidateLabel(const std::string& label);

int64_t ToUnixMs(std::chrono::system_clock::time_point time);
std::chrono::system_clock::time_point FromUnixMs(int64_t ms);

}  // namespace cascade
