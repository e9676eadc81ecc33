// Session handles, and who holds which cache slot.
//
// DESIGN. One mutex guards everything; no method holds it while it calls out, and none keeps a reference into the maps
// after its return. A turn borrows its session with a lease: the session is busy until the lease is given back, in one
// of four ways. Expiry is lazy: every call first lets go what has expired; there is no timer. Slots are not cleared
// here (that is the engine thread's): whoever first feeds a slot at position 0 clears it.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/clock.h"
#include "engine/base/random_source.h"
#include "engine/session/session.h"
#include "kernels/base/mutex.h"

namespace cascade {

class SessionStore;

// The right to run a turn on a session. Given back by its destructor at the latest. One thread at a time.
class SessionLease {
 public:
  SessionLease() = default;
  SessionLease(SessionLease&& other) noexcept { *this = std::move(other); }
  SessionLease& operator=(SessionLease&& other) noexcept;
  ~SessionLease() { Release(); }

  bool held() const { return session_ != nullptr; }

  // The turn is over and leaves this.
  void Finish(const SessionCache& cache, ReplyEnd reply_end, FinishReason reason);
  // The slot's contents are undefined: the session is gone.
  void Lose();
  // Nothing has changed: no turn took place.
  void Release();
  // The session, a new one, begins as another one is; `cache` but for its slot, which is the session's own.
  SessionInfo Adopt(const SessionCache& cache, ReplyEnd reply_end);

 private:
  friend class SessionStore;
  SessionStore* store_ = nullptr;
  std::shared_ptr<Session> session_;
};

// What Acquire gives: the lease, and the session's state as the turn's own copy.
struct AcquiredSession {
  SessionLease lease;
  SessionCache cache;
  ReplyEnd reply_end = ReplyEnd::kNone;
};

// Any thread. All arguments outlive the store, the store outlives its leases.
class SessionStore {
 public:
  SessionStore(const CascadeGeometry& geometry, int num_slots, std::chrono::seconds ttl, Clock& clock,
               RandomSource& random);

  // RESOURCE_EXHAUSTED when no slot is free, or only the one that is kept for one-shot turns.
  absl::StatusOr<SessionInfo> Create(const std::string& label);
  // The same, busy until the lease is given back.
  absl::StatusOr<AcquiredSession> CreateBusy(const std::string& label);
  absl::StatusOr<SessionInfo> Get(const std::string& id);
  // page_size in [1, 1000].
  absl::StatusOr<SessionPage> List(int page_size, const std::string& page_token);
  // The handle is gone at once; then waits for the running turn, which is cancelled, and frees the slot.
  absl::Status Delete(const std::string& id);

  // NOT_FOUND; ABORTED when busy; FAILED_PRECONDITION with the true position. `cancel` is called, under the lock, when
  // the session is deleted meanwhile.
  absl::StatusOr<AcquiredSession> Acquire(const std::string& id, std::optional<int64_t> expected_position,
                                          std::function<void()> cancel);

  // Slots of one-shot turns; nullopt: none is free.
  std::optional<int> TakeSlot();
  void ReturnSlot(int slot);

  int slots_free();
  int size();

 private:
  friend class SessionLease;
  using SessionPtr = std::shared_ptr<Session>;

  std::string NewId();
  absl::StatusOr<SessionPtr> Add(const std::string& label, const std::string& id)
      CASCADE_REQUIRES(mutex_);  // errors: Create's
  AcquiredSession Borrow(const SessionPtr& session, std::function<void()> cancel) CASCADE_REQUIRES(mutex_);
  SessionPtr Find(const std::string& id) CASCADE_REQUIRES(mutex_);
  void Unlist(const SessionPtr& session) CASCADE_REQUIRES(mutex_);
  void FreeSlot(Session& session) CASCADE_REQUIRES(mutex_);
  void Expire() CASCADE_REQUIRES(mutex_);
  void EndLease(const SessionPtr& session) CASCADE_REQUIRES(mutex_);

  const CascadeGeometry& geometry_;
  const int num_slots_;
  const std::chrono::seconds ttl_;
  Clock& clock_;
  RandomSource& random_;
  const std::string page_prefix_;  // random: tells our page tokens from others

  Mutex mutex_;
  CondVar turn_ended_;
  std::unordered_map<std::string, SessionPtr> by_id_ CASCADE_GUARDED_BY(mutex_);
  std::map<uint64_t, SessionPtr> by_generation_ CASCADE_GUARDED_BY(mutex_);
  std::vector<int> free_slots_ CASCADE_GUARDED_BY(mutex_);
  int session_slots_ CASCADE_GUARDED_BY(mutex_) = 0;  // held by sessions, deleted ones that still run included
  uint64_t next_generation_ CASCADE_GUARDED_BY(mutex_) = 1;
};

}  // namespace cascade
