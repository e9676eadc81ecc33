#include "engine/session/session_store.h"

#include <algorithm>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "kernels/base/check.h"

namespace cascade {
namespace {

constexpr int kMaxPageSize = 1000;

absl::Status NotFound() { return absl::NotFoundError("session not found"); }

std::string Hex64(uint64_t value) { return absl::StrCat(absl::Hex(value, absl::kZeroPad16)); }

}  // namespace

SessionStore::SessionStore(const CascadeGeometry& geometry, const StoreLimits& limits, Clock& clock,
                           RandomSource& random)
    : geometry_(geometry), limits_(limits), clock_(clock), random_(random), page_prefix_(Hex64(random.Next64())) {
  MutexLock lock(mutex_);
  for (int slot = limits.num_slots - 1; slot >= 0; --slot) free_slots_.push_back(slot);
}

std::string SessionStore::NewId(SessionKey* key) {
  random_.Fill(*key);
  return ToHex(*key);
}

absl::Status SessionStore::CheckRoom(Durability durability) {
  const int sessions = static_cast<int>(by_id_.size());
  if (sessions >= limits_.max_sessions) {
    return absl::ResourceExhaustedError(absl::StrCat("no room for another session: ", sessions, " of at most ",
                                                     limits_.max_sessions, "; delete one or come back later"));
  }
  const int places = limits_.num_slots - 1 + std::max(0, limits_.host_places - 1);
  if (durability == Durability::kNone && memory_sessions_ >= places) {
    return absl::ResourceExhaustedError(absl::StrCat("no cache slot is free: ", memory_sessions_,
                                                     " sessions of at most ", places,
                                                     "; delete one or come back later"));
  }
  return absl::OkStatus();
}

void SessionStore::List(const SessionPtr& session) {
  CASCADE_CHECK(by_id_.count(session->id) == 0);
  session->generation = next_generation_++;
  if (session->durability == Durability::kNone) ++memory_sessions_;
  by_id_[session->id] = session;
  by_generation_[session->generation] = session;
}

absl::StatusOr<AcquiredSession> SessionStore::CreateBusy(const std::string& label, Durability durability) {
  if (absl::Status status = ValidateLabel(label); !status.ok()) return status;
  auto session = std::make_shared<Session>(geometry_);
  session->id = NewId(&session->key);
  session->label = label;
  session->durability = durability;
  MutexLock lock(mutex_);
  Expire();
  if (absl::Status status = CheckRoom(durability); !status.ok()) return status;
  session->created = session->last_used = clock_.WallNow();
  session->idle_since = clock_.Now();
  List(session);
  return Borrow(session, [] {});  // nothing to cancel: it ends by itself
}

absl::StatusOr<SessionInfo> SessionStore::Get(const std::string& id) {
  MutexLock lock(mutex_);
  const SessionPtr session = Find(id);
  if (!session) return NotFound();
  if (!session->damage.ok()) return session->damage;
  return DescribeSession(*session, geometry_, limits_.ttl);
}

absl::StatusOr<SessionPage> SessionStore::List(int page_size, const std::string& page_token) {
  if (page_size < 1 || page_size > kMaxPageSize) {
    return absl::InvalidArgumentError(absl::StrCat("page_size must be in [1, ", kMaxPageSize, "], got ", page_size));
  }
  MutexLock lock(mutex_);
  Expire();
  uint64_t after = 0;  // the generation of the last session of the page before
  if (!page_token.empty()) {
    const size_t prefix = page_prefix_.size();
    if (page_token.size() != prefix + 16 || page_token.compare(0, prefix, page_prefix_) != 0 ||
        !absl::SimpleHexAtoi(page_token.substr(prefix), &after) || after == 0 || after >= next_generation_) {
      return absl::InvalidArgumentError("page_token is not one of this server's");
    }
  }
  SessionPage page;
  uint64_t last = 0;
  for (auto it = by_generation_.upper_bound(after); it != by_generation_.end(); ++it) {
    if (static_cast<int>(page.sessions.size()) == page_size) {
      page.next_page_token = page_prefix_ + Hex64(last);
      break;
    }
    page.sessions.push_back(DescribeSession(*it->second, geometry_, limits_.ttl));
    last = it->first;
  }
  return page;
}

absl::StatusOr<std::shared_ptr<Session>> SessionStore::Delete(const std::string& id) {
  MutexLock lock(mutex_);
  SessionPtr session = Find(id);
  while (session && session->reading) {
    changed_.Wait(mutex_);
    session = Find(id);
  }
  if (!session) return NotFound();
  leaving_.insert(id);
  Unlist(session);
  if (session->cancel) session->cancel();
  while (session->busy || session->moving) changed_.Wait(mutex_);
  return session;
}

absl::StatusOr<SessionStore::SessionPtr> SessionStore::FindIdle(const std::string& id,
                                                                std::optional<int64_t> expected_position) {
  const SessionPtr session = Find(id);
  if (!session) return NotFound();
  if (!session->damage.ok()) return session->damage;
  if (session->busy) return absl::AbortedError("the session is busy with another turn");
  const int64_t position = session->cache.position();
  if (expected_position.has_value() && *expected_position != position) {
    return absl::FailedPreconditionError(
        absl::StrCat("expected_position is ", *expected_position, ", but the session's position is ", position));
  }
  return session;
}

absl::StatusOr<AcquiredSession> SessionStore::Acquire(const std::string& id, std::optional<int64_t> expected_position,
                                                      std::function<void()> cancel) {
  MutexLock lock(mutex_);
  const absl::StatusOr<SessionPtr> session = FindIdle(id, expected_position);
  if (!session.ok()) return session.status();
  return Borrow(*session, std::move(cancel));
}

absl::StatusOr<AcquiredSession> SessionStore::AcquireStill(const std::string& id,
                                                           std::optional<int64_t> expected_position) {
  MutexLock lock(mutex_);
  const absl::StatusOr<SessionPtr> session = FindIdle(id, expected_position);
  if (!session.ok()) return session.status();
  AcquiredSession acquired = Borrow(*session, [] {});
  while ((*session)->moving) changed_.Wait(mutex_);
  return acquired;
}

std::shared_ptr<TurnLog> SessionStore::LastTurn(const std::string& id) {
  MutexLock lock(mutex_);
  const SessionPtr session = Find(id);
  return session ? session->last_turn : nullptr;
}

std::shared_ptr<TurnLog> SessionStore::TurnOf(const std::string& id, const std::string& turn_id) {
  MutexLock lock(mutex_);
  const SessionPtr session = Find(id);
  if (!session) return nullptr;
  for (const auto& log : {session->last_turn, session->acknowledged_turn}) {
    if (log != nullptr && log->turn_id() == turn_id) return log;
  }
  return nullptr;
}

AcquiredSession SessionStore::Borrow(const SessionPtr& session, std::function<void()> cancel) {
  AcquiredSession acquired{SessionLease(), session->cache, session->digest, session->reply_end, session->turns};
  acquired.cache.slot = -1;
  session->busy = true;
  session->cancel = std::move(cancel);
  session->last_used = clock_.WallNow();
  acquired.lease.store_ = this;
  acquired.lease.session_ = session;
  return acquired;
}

int SessionStore::size() {
  MutexLock lock(mutex_);
  Expire();
  return static_cast<int>(by_id_.size());
}

int SessionStore::CountIn(SessionHome home) {
  MutexLock lock(mutex_);
  return static_cast<int>(
      std::count_if(by_id_.begin(), by_id_.end(), [&](const auto& entry) { return entry.second->home == home; }));
}

SessionStore::SessionPtr SessionStore::Find(const std::string& id) {
  Expire();
  const auto it = by_id_.find(id);
  return it == by_id_.end() ? nullptr : it->second;
}

void SessionStore::Unlist(const SessionPtr& session) {
  by_id_.erase(session->id);
  by_generation_.erase(session->generation);
  if (session->durability == Durability::kNone) --memory_sessions_;
  session->listed = false;
  Settle(session);
}

void SessionStore::FreeSlot(Session& session) {
  free_slots_.push_back(std::exchange(session.cache.slot, -1));
  if (session.durability == Durability::kNone) --memory_slots_;
}

// Nobody has it any more: a slot that is not its home, or the slot of a session that is gone, is free.
void SessionStore::Settle(const SessionPtr& session) {
  if (session->busy || session->moving) return;
  const bool keeps = session->listed && session->home == SessionHome::kSlot;
  if (session->cache.slot >= 0 && !keeps) FreeSlot(*session);
  if (!session->listed) session->host.reset();
}

void SessionStore::Expire() {
  if (limits_.ttl.count() <= 0) return;
  const auto now = clock_.Now();
  for (auto it = by_generation_.begin(); it != by_generation_.end();) {
    const SessionPtr session = (it++)->second;
    if (session->busy || session->moving || session->reading || session->found.has_value()) continue;
    if (now - session->idle_since < limits_.ttl) continue;
    Unlist(session);
    if (session->journal == nullptr) continue;
    expired_.push_back(session);
    leaving_.insert(session->id);
  }
}

std::vector<std::shared_ptr<Session>> SessionStore::TakeExpired() {
  MutexLock lock(mutex_);
  Expire();
  return std::exchange(expired_, {});
}

void SessionStore::EndLease(const SessionPtr& session) {
  session->busy = false;
  session->cancel = nullptr;
  Settle(session);
  changed_.NotifyAll();
}

}  // namespace cascade
