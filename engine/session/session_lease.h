#pragma once

#include <memory>
#include <vector>

#include "engine/session/session.h"

namespace cascade {

class SessionStore;

// Where a session's cache is now, for a turn that is about to start.
struct SessionPlace {
  bool moving = false;  // wait: it is being moved
  SessionHome home = SessionHome::kNone;
  int slot = -1;  // kSlot
};

// The right to run a turn on a session. Given back by its destructor at the latest. One thread at a time.
class SessionLease {
 public:
  SessionLease() = default;
  SessionLease(SessionLease&& other) noexcept { *this = std::move(other); }
  SessionLease& operator=(SessionLease&& other) noexcept;
  ~SessionLease() { Release(); }

  bool held() const { return session_ != nullptr; }

  // While it is held. These do not change under it, but for a move.
  const std::string& id() const { return session_->id; }
  const std::shared_ptr<Journal>& journal() const { return session_->journal; }
  Durability durability() const { return session_->durability; }
  SessionPlace Place() const;
  // A copy of the record as it is; its journal may be used as long as the lease is held.
  Session Snapshot() const;

  // The session has this slot from now on; what it holds is not the session's cache yet.
  void TakeSlot(int slot);
  // .. but now it is; `digest`: of the tokens fed.
  void BroughtIn(uint64_t digest);
  // The newest turn, for ResumeTurn. Null: not one of Generate, or it is undone.
  void Begin(std::shared_ptr<TurnLog> log);
  // Before the turn changes anything: where it begins, with the slot's scores (null: not kept). Of the newest `keep`.
  void Remember(std::shared_ptr<kernels::HostMemory> scores, size_t keep);

  // Ways to give it back.
  // The turn is over and leaves this, in its slot if it has one. `counts`: it is one of the session's turns.
  void Finish(const SessionCache& cache, ReplyEnd reply_end, FinishReason reason, bool counts = true);
  // Nothing has changed: no turn took place.
  void Release();
  // The same, but what the slot holds is undefined. The session's cache is where it was before it was brought in; a
  // session that has no such place is gone.
  void Drop(FinishReason reason);
  // The session is gone.
  void Lose();
  // What it is from now on: everything but its identity and its slot. A slot that `home` does not mention is freed.
  SessionInfo Become(const Session& session);

 private:
  friend class SessionStore;
  SessionStore* store_ = nullptr;
  std::shared_ptr<Session> session_;
};

// What Acquire gives: the lease, and the session's state as the turn's own copy.
struct AcquiredSession {
  SessionLease lease;
  SessionCache cache;  // without a slot
  uint64_t digest = 0;
  ReplyEnd reply_end = ReplyEnd::kNone;
  int64_t turns = 0;
};

}  // namespace cascade
