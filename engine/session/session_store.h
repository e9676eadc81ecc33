// Session handles, who holds which cache slot, and where the caches are that have none.
//
// DESIGN. One mutex guards everything; no method holds it while it calls out, reads or writes files, and none keeps a
// reference into the maps after its return. A turn borrows its session with a lease: the session is busy until the
// lease is given back. A mover (engine/mover.h) takes an idle session's cache to another home; a turn may come
// meanwhile, and waits for its end before it starts. Expiry is lazy: every call first lets go what has expired; there
// is no timer. Slots are not cleared here (that is the engine thread's): whoever first feeds a slot at position 0
// clears it.
//
// Room: a session without a journal must always find a place, in a slot or in host memory, or nobody could be brought
// in any more; so many are admitted as there are slots but one, and host places but one. A session with a journal can
// go to disk.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/clock.h"
#include "engine/base/random_source.h"
#include "engine/session/prefix_cache.h"
#include "engine/session/session.h"
#include "engine/session/session_lease.h"
#include "kernels/base/mutex.h"

namespace cascade {

// Of all entries of the prefix cache: 64 MiB.
inline constexpr int64_t kMaxPrefixIds = int64_t{16} << 20;

struct StoreLimits {
  int num_slots = 1;
  int max_sessions = 1;
  int host_places = 0;  // caches that fit into host memory
  std::chrono::seconds ttl{0};
};

// An idle session whose cache is being moved; see SessionStore::BeginMove.
struct SessionMove {
  std::shared_ptr<Session> session;
  SessionHome home = SessionHome::kNone;  // where it is
  SessionCache cache;
  uint64_t digest = 0;
  std::shared_ptr<kernels::HostMemory> host;
  std::shared_ptr<Journal> journal;
};

// Any thread. All arguments outlive the store, the store outlives its leases.
class SessionStore {
 public:
  SessionStore(const CascadeGeometry& geometry, const StoreLimits& limits, Clock& clock, RandomSource& random);

  // A new session, busy until the lease is given back. RESOURCE_EXHAUSTED when there is no room for one.
  absl::StatusOr<AcquiredSession> CreateBusy(const std::string& label, Durability durability);
  absl::StatusOr<SessionInfo> Get(const std::string& id);
  // page_size in [1, 1000].
  absl::StatusOr<SessionPage> List(int page_size, const std::string& page_token);
  // The handle is gone at once; then waits for the running turn, which is cancelled, and for a move, and frees the
  // slot. Returns the record: what it has outside is the caller's to remove, who then calls Gone.
  absl::StatusOr<std::shared_ptr<Session>> Delete(const std::string& id);

  // NOT_FOUND; ABORTED when busy; FAILED_PRECONDITION with the true position. `cancel` is called, under the lock, when
  // the session is deleted meanwhile.
  absl::StatusOr<AcquiredSession> Acquire(const std::string& id, std::optional<int64_t> expected_position,
                                          std::function<void()> cancel);
  // For callers that are no turn, end by themselves and may wait: when a move is under way, for its end. Nothing moves
  // the session's cache before the lease is given back.
  absl::StatusOr<AcquiredSession> AcquireStill(const std::string& id, std::optional<int64_t> expected_position);
  std::shared_ptr<TurnLog> LastTurn(const std::string& id);  // null: there is no such turn or session
  // The running turn, or the last one that counts, if it has this name; or null.
  std::shared_ptr<TurnLog> TurnOf(const std::string& id, const std::string& turn_id);

  // Slots of turns that are about to start; nullopt: none is free. One-shot turns leave those that sessions need which
  // can be nowhere else.
  std::optional<int> TakeSlot(bool one_shot = false);
  void ReturnSlot(int slot);
  // Those of the prefix cache count: it gives one whenever another is wanted.
  int slots_free();

  // The prefix cache. All that is done to the slots in it is begun on the engine's thread, where it comes before
  // whatever the next owner does to them.
  // TakeSlot(true) for a prompt, with what is found of it.
  std::optional<PrefixStart> TakeSlotFor(const PrefixQuery& query);
  // Instead of ReturnSlot: the entry, or 0.
  uint64_t KeepPrefix(Prefix prefix);
  // A slot for an entry that has just these ids, if there is none yet: a free one, or that of the first to go.
  std::optional<int> TakeSlotToKeep(const PrefixQuery& query);
  void ForgetPrefixes();
  int prefixes();

  // Sessions of an earlier process. They count, and are read when somebody asks for one.
  void AddFound(std::vector<FoundSession> found);
  bool NeedsReading(const std::string& id);
  // Another server has taken this one: it is not known here any more. False: none has, or it is busy.
  bool ForgetTaken(const std::string& id);
  // Or is just removing it.
  bool Knows(const std::string& id);
  // Of a session that was deleted or has expired: its files are gone, too.
  void Gone(const std::string& id);
  // The caller reads this one and says what came of it; others who want it wait. nullopt: it needs no reading (any
  // more).
  std::optional<FoundSession> BeginReading(const std::string& id);
  // An error that may pass leaves the session unread.
  void EndReading(const std::string& id, absl::StatusOr<std::unique_ptr<Journal>> journal,
                  std::shared_ptr<TurnLog> last_turn);
  // Of a session that another process has left after this one began, or that is damaged; not if it is known already.
  void AddRead(const SessionKey& key, absl::StatusOr<std::unique_ptr<Journal>> journal,
               std::shared_ptr<TurnLog> last_turn);

  // Moves. Of those that are idle and in `home`, the one that was used longest ago; `with_journal`: only of those that
  // have one. nullopt: there is none.
  std::optional<SessionMove> BeginMove(SessionHome home, bool with_journal);
  // Of a session that a lease holds, or (drain) of any idle one by name.
  SessionMove BeginMove(SessionLease& lease);
  std::optional<SessionMove> BeginMoveOf(const std::string& id);
  // The same, when whoever has it now has left it.
  std::optional<SessionMove> BeginMoveOf(const std::string& id, std::chrono::steady_clock::time_point deadline);
  // It is there now; its slot is free. `host`: kHost. kSlot: nothing came of it.
  void EndMove(const SessionMove& move, SessionHome home, std::shared_ptr<kernels::HostMemory> host);
  // Ids of the sessions with a journal whose cache is in a slot or in host memory, and of those that somebody has.
  // `without_image`: but for those whose newest image is of just that cache, so that parking them takes no time.
  std::vector<std::string> Unparked(bool without_image = false);

  // Sessions that have expired since the last call: what they have outside is the caller's to remove, who then calls
  // Gone.
  std::vector<std::shared_ptr<Session>> TakeExpired();

  int size();
  int CountIn(SessionHome home);
  std::string NewId(SessionKey* key);

 private:
  friend class SessionLease;
  using SessionPtr = std::shared_ptr<Session>;

  absl::Status CheckRoom(Durability durability) CASCADE_REQUIRES(mutex_);
  void List(const SessionPtr& session) CASCADE_REQUIRES(mutex_);
  // The session, when it may be acquired.
  absl::StatusOr<SessionPtr> FindIdle(const std::string& id, std::optional<int64_t> expected_position)
      CASCADE_REQUIRES(mutex_);
  AcquiredSession Borrow(const SessionPtr& session, std::function<void()> cancel) CASCADE_REQUIRES(mutex_);
  SessionPtr Find(const std::string& id) CASCADE_REQUIRES(mutex_);
  SessionMove Move(const SessionPtr& session) CASCADE_REQUIRES(mutex_);
  void Unlist(const SessionPtr& session) CASCADE_REQUIRES(mutex_);
  void FreeSlot(Session& session) CASCADE_REQUIRES(mutex_);
  bool MayTakeSlot(bool one_shot) CASCADE_REQUIRES(mutex_);
  std::optional<int> AnySlot() CASCADE_REQUIRES(mutex_);
  void Settle(const SessionPtr& session) CASCADE_REQUIRES(mutex_);
  void Expire() CASCADE_REQUIRES(mutex_);
  void EndLease(const SessionPtr& session) CASCADE_REQUIRES(mutex_);

  const CascadeGeometry& geometry_;
  const StoreLimits limits_;
  Clock& clock_;
  RandomSource& random_;
  const std::string page_prefix_;  // random: tells our page tokens from others

  Mutex mutex_;
  CondVar changed_;  // a turn, a move or a reading has ended
  std::unordered_map<std::string, SessionPtr> by_id_ CASCADE_GUARDED_BY(mutex_);
  std::map<uint64_t, SessionPtr> by_generation_ CASCADE_GUARDED_BY(mutex_);
  std::vector<int> free_slots_ CASCADE_GUARDED_BY(mutex_);
  PrefixCache prefixes_ CASCADE_GUARDED_BY(mutex_){kMaxPrefixIds};
  std::vector<SessionPtr> expired_ CASCADE_GUARDED_BY(mutex_);
  std::unordered_set<std::string> leaving_ CASCADE_GUARDED_BY(mutex_);  // ids whose files are being removed
  int memory_sessions_ CASCADE_GUARDED_BY(mutex_) = 0;                  // without a journal
  int memory_slots_ CASCADE_GUARDED_BY(mutex_) = 0;                     // that those have
  uint64_t next_generation_ CASCADE_GUARDED_BY(mutex_) = 1;
};

}  // namespace cascade
