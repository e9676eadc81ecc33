// The store's part about sessions that have no slot: moves between homes, and sessions of an earlier process.
#include <algorithm>
#include <utility>

#include "engine/session/session_store.h"
#include "kernels/base/check.h"

namespace cascade {
namespace {

// Of a session that was read. The wall clock may have jumped while nobody looked: it is at most as old as its time to
// live.
std::chrono::steady_clock::time_point IdleSince(const Session& session, const Clock& clock, std::chrono::seconds ttl) {
  const auto age = std::clamp<std::chrono::nanoseconds>(clock.WallNow() - session.last_used, std::chrono::seconds(0),
                                                        std::max(ttl, std::chrono::seconds(0)));
  return clock.Now() - std::chrono::duration_cast<std::chrono::steady_clock::duration>(age);
}

}  // namespace

SessionMove SessionStore::Move(const SessionPtr& session) {
  session->moving = true;
  return {.session = session,
          .home = session->home,
          .cache = session->cache,
          .digest = session->cache.digest,
          .host = session->host,
          .journal = session->journal};
}

std::optional<SessionMove> SessionStore::BeginMove(SessionHome home, bool with_journal) {
  MutexLock lock(mutex_);
  Expire();
  SessionPtr oldest;
  for (const auto& [id, session] : by_id_) {
    if (session->home != home || session->busy || session->moving) continue;
    if (with_journal && session->journal == nullptr) continue;
    if (oldest == nullptr || session->idle_since < oldest->idle_since) oldest = session;
  }
  if (oldest == nullptr) return std::nullopt;
  return Move(oldest);
}

SessionMove SessionStore::BeginMove(SessionLease& lease) {
  MutexLock lock(mutex_);
  CASCADE_CHECK(lease.held() && !lease.session_->moving);
  return Move(lease.session_);
}

std::optional<SessionMove> SessionStore::BeginMoveOf(const std::string& id) {
  MutexLock lock(mutex_);
  const auto found = by_id_.find(id);
  if (found == by_id_.end() || found->second->busy || found->second->moving) return std::nullopt;
  return Move(found->second);
}

void SessionStore::EndMove(const SessionMove& move, SessionHome home, std::shared_ptr<kernels::HostMemory> host) {
  MutexLock lock(mutex_);
  Session& session = *move.session;
  session.moving = false;
  session.home = home;
  session.host = std::move(host);
  if (home != SessionHome::kSlot && session.cache.slot >= 0) FreeSlot(session);
  if (home == SessionHome::kDisk) {
    // Made from files, a cache has the digest that they say; and scores of earlier times are not kept.
    for (TurnStart& start : session.turn_starts) start.scores.reset();
  }
  Settle(move.session);
  changed_.NotifyAll();
}

std::vector<std::string> SessionStore::Unparked(bool without_image) {
  MutexLock lock(mutex_);
  std::vector<std::string> ids;
  for (const auto& [generation, session] : by_generation_) {
    if (session->journal == nullptr) continue;
    const bool in_memory = session->home == SessionHome::kSlot || session->home == SessionHome::kHost;
    const int64_t fed = session->cache.plan.tokens_seen();
    const bool wanted = in_memory && (!without_image || session->journal->ImageBefore(fed) != fed);
    // What a turn, or a call, will leave is not known before its end.
    if (session->busy || wanted) ids.push_back(session->id);
  }
  return ids;
}

std::optional<SessionMove> SessionStore::BeginMoveOf(const std::string& id,
                                                     std::chrono::steady_clock::time_point deadline) {
  MutexLock lock(mutex_);
  while (true) {
    const auto found = by_id_.find(id);
    if (found == by_id_.end()) return std::nullopt;
    if (!found->second->busy && !found->second->moving) return Move(found->second);
    if (!changed_.WaitUntil(mutex_, deadline)) return std::nullopt;
  }
}

void SessionStore::AddFound(std::vector<FoundSession> found) {
  MutexLock lock(mutex_);
  for (FoundSession& one : found) {
    auto session = std::make_shared<Session>(geometry_);
    session->id = ToHex(one.session);
    session->key = one.session;
    session->label = one.label;
    session->durability = Durability::kJournal;
    session->created = session->last_used = FromUnixMs(one.created_ms);
    session->home = SessionHome::kDisk;
    session->idle_since = clock_.Now();
    session->found = std::move(one);
    List(session);
  }
}

bool SessionStore::NeedsReading(const std::string& id) {
  MutexLock lock(mutex_);
  const auto found = by_id_.find(id);
  return found != by_id_.end() && found->second->found.has_value();
}

bool SessionStore::Knows(const std::string& id) {
  MutexLock lock(mutex_);
  return by_id_.count(id) > 0 || leaving_.count(id) > 0;
}

bool SessionStore::ForgetTaken(const std::string& id) {
  MutexLock lock(mutex_);
  const auto found = by_id_.find(id);
  if (found == by_id_.end()) return false;
  const SessionPtr session = found->second;
  if (session->busy || session->moving || session->journal == nullptr || !session->journal->taken()) return false;
  Unlist(session);
  return true;
}

void SessionStore::Gone(const std::string& id) {
  MutexLock lock(mutex_);
  leaving_.erase(id);
}

std::optional<FoundSession> SessionStore::BeginReading(const std::string& id) {
  MutexLock lock(mutex_);
  while (true) {
    const auto found = by_id_.find(id);
    if (found == by_id_.end() || !found->second->found.has_value()) return std::nullopt;
    if (!found->second->reading) {
      found->second->reading = true;
      return found->second->found;
    }
    changed_.Wait(mutex_);
  }
}

void SessionStore::EndReading(const std::string& id, absl::StatusOr<std::unique_ptr<Journal>> journal,
                              std::shared_ptr<TurnLog> last_turn) {
  MutexLock lock(mutex_);
  changed_.NotifyAll();
  const auto found = by_id_.find(id);
  if (found == by_id_.end()) return;
  Session& session = *found->second;
  session.reading = false;
  const absl::Status& status = journal.status();
  // No descriptor was left, say: the next one who wants it reads it again.
  const bool lasting = absl::IsDataLoss(status) || absl::IsFailedPrecondition(status) || absl::IsNotFound(status);
  if (!status.ok() && !lasting) return;
  session.found.reset();
  session.damage = status;
  if (!status.ok()) return;
  session.journal = *std::move(journal);
  SetFromJournal(geometry_, session.journal->state(), session);
  session.acknowledged_turn = session.last_turn = std::move(last_turn);
  session.idle_since = IdleSince(session, clock_, limits_.ttl);
}

void SessionStore::AddRead(const SessionKey& key, absl::StatusOr<std::unique_ptr<Journal>> journal,
                           std::shared_ptr<TurnLog> last_turn) {
  MutexLock lock(mutex_);
  auto session = std::make_shared<Session>(geometry_);
  session->id = ToHex(key);
  session->key = key;
  if (by_id_.count(session->id) > 0 || leaving_.count(session->id) > 0) return;
  session->durability = Durability::kJournal;
  session->damage = journal.status();
  session->idle_since = clock_.Now();
  if (journal.ok()) {
    session->journal = *std::move(journal);
    SetFromJournal(geometry_, session->journal->state(), *session);
    session->acknowledged_turn = session->last_turn = std::move(last_turn);
    // One that had expired, and whose files could not be removed then, expires again.
    session->idle_since = IdleSince(*session, clock_, limits_.ttl);
  }
  List(session);
}

}  // namespace cascade
