#include "engine/session/session_store.h"

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

SessionLease& SessionLease::operator=(SessionLease&& other) noexcept {
  if (this != &other) {
    Release();
    store_ = std::exchange(other.store_, nullptr);
    session_ = std::move(other.session_);
    other.session_ = nullptr;
  }
  return *this;
}

void SessionLease::Finish(const SessionCache& cache, ReplyEnd reply_end, FinishReason reason) {
  CASCADE_CHECK(held());
  const auto session = std::move(session_);
  MutexLock lock(store_->mutex_);
  CASCADE_CHECK(cache.slot == session->cache.slot);
  session->cache = cache;
  session->reply_end = reply_end;
  session->last_finish = reason;
  ++session->turns;
  session->last_used = store_->clock_.WallNow();
  session->idle_since = store_->clock_.Now();
  store_->EndLease(session);
}

void SessionLease::Lose() {
  CASCADE_CHECK(held());
  const auto session = std::move(session_);
  MutexLock lock(store_->mutex_);
  if (session->listed) store_->Unlist(session);
  store_->EndLease(session);
}

void SessionLease::Release() {
  if (!held()) return;
  const auto session = std::move(session_);
  MutexLock lock(store_->mutex_);
  session->idle_since = store_->clock_.Now();  // it could not expire meanwhile
  store_->EndLease(session);
}

SessionInfo SessionLease::Adopt(const SessionCache& cache, ReplyEnd reply_end) {
  CASCADE_CHECK(held());
  const auto session = std::move(session_);
  MutexLock lock(store_->mutex_);
  const int slot = session->cache.slot;
  session->cache = cache;
  session->cache.slot = slot;
  session->reply_end = reply_end;
  session->idle_since = store_->clock_.Now();
  session->busy = false;
  const SessionInfo info = DescribeSession(*session, store_->geometry_, store_->ttl_);
  store_->EndLease(session);
  return info;
}

SessionStore::SessionStore(const CascadeGeometry& geometry, int num_slots, std::chrono::seconds ttl, Clock& clock,
                           RandomSource& random)
    : geometry_(geometry),
      num_slots_(num_slots),
      ttl_(ttl),
      clock_(clock),
      random_(random),
      page_prefix_(Hex64(random.Next64())) {
  MutexLock lock(mutex_);
  for (int slot = num_slots - 1; slot >= 0; --slot) free_slots_.push_back(slot);
}

absl::StatusOr<SessionStore::SessionPtr> SessionStore::Add(const std::string& label, const std::string& id) {
  if (absl::Status status = ValidateLabel(label); !status.ok()) return status;
  Expire();
  if (session_slots_ >= num_slots_ - 1 || free_slots_.empty()) {
    return absl::ResourceExhaustedError(absl::StrCat("no cache slot is free: ", session_slots_, " sessions of at most ",
                                                     num_slots_ - 1, "; delete one or come back later"));
  }
  auto session = std::make_shared<Session>(geometry_);
  session->id = id;
  session->label = label;
  CASCADE_CHECK(by_id_.count(session->id) == 0);
  session->generation = next_generation_++;
  session->cache.slot = free_slots_.back();
  free_slots_.pop_back();
  ++session_slots_;
  session->created = session->last_used = clock_.WallNow();
  session->idle_since = clock_.Now();
  by_id_[session->id] = session;
  by_generation_[session->generation] = session;
  return session;
}

std::string SessionStore::NewId() {
  const uint64_t high = random_.Next64();
  const uint64_t low = random_.Next64();
  return Hex64(high) + Hex64(low);
}

absl::StatusOr<SessionInfo> SessionStore::Create(const std::string& label) {
  const std::string id = NewId();
  MutexLock lock(mutex_);
  const absl::StatusOr<SessionPtr> session = Add(label, id);
  if (!session.ok()) return session.status();
  return DescribeSession(**session, geometry_, ttl_);
}

absl::StatusOr<AcquiredSession> SessionStore::CreateBusy(const std::string& label) {
  const std::string id = NewId();
  MutexLock lock(mutex_);
  const absl::StatusOr<SessionPtr> session = Add(label, id);
  if (!session.ok()) return session.status();
  return Borrow(*session, [] {});  // nothing to cancel: it ends by itself
}

absl::StatusOr<SessionInfo> SessionStore::Get(const std::string& id) {
  MutexLock lock(mutex_);
  const SessionPtr session = Find(id);
  if (!session) return NotFound();
  return DescribeSession(*session, geometry_, ttl_);
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
    page.sessions.push_back(DescribeSession(*it->second, geometry_, ttl_));
    last = it->first;
  }
  return page;
}

absl::Status SessionStore::Delete(const std::string& id) {
  MutexLock lock(mutex_);
  const SessionPtr session = Find(id);
  if (!session) return NotFound();
  Unlist(session);
  if (session->cancel) session->cancel();
  while (session->busy) turn_ended_.Wait(mutex_);
  return absl::OkStatus();
}

absl::StatusOr<AcquiredSession> SessionStore::Acquire(const std::string& id, std::optional<int64_t> expected_position,
                                                      std::function<void()> cancel) {
  MutexLock lock(mutex_);
  const SessionPtr session = Find(id);
  if (!session) return NotFound();
  if (session->busy) return absl::AbortedError("the session is busy with another turn");
  const int64_t position = session->cache.position();
  if (expected_position.has_value() && *expected_position != position) {
    return absl::FailedPreconditionError(
        absl::StrCat("expected_position is ", *expected_position, ", but the session's position is ", position));
  }
  return Borrow(session, std::move(cancel));
}

AcquiredSession SessionStore::Borrow(const SessionPtr& session, std::function<void()> cancel) {
  AcquiredSession acquired{SessionLease(), session->cache, session->reply_end};
  session->busy = true;
  session->cancel = std::move(cancel);
  session->last_used = clock_.WallNow();
  acquired.lease.store_ = this;
  acquired.lease.session_ = session;
  return acquired;
}

std::optional<int> SessionStore::TakeSlot() {
  MutexLock lock(mutex_);
  Expire();
  if (free_slots_.empty()) return std::nullopt;
  const int slot = free_slots_.back();
  free_slots_.pop_back();
  return slot;
}

void SessionStore::ReturnSlot(int slot) {
  MutexLock lock(mutex_);
  free_slots_.push_back(slot);
}

int SessionStore::slots_free() {
  MutexLock lock(mutex_);
  Expire();
  return static_cast<int>(free_slots_.size());
}

int SessionStore::size() {
  MutexLock lock(mutex_);
  Expire();
  return static_cast<int>(by_id_.size());
}

SessionStore::SessionPtr SessionStore::Find(const std::string& id) {
  Expire();
  const auto it = by_id_.find(id);
  return it == by_id_.end() ? nullptr : it->second;
}

void SessionStore::Unlist(const SessionPtr& session) {
  by_id_.erase(session->id);
  by_generation_.erase(session->generation);
  session->listed = false;
  if (!session->busy) FreeSlot(*session);
}

void SessionStore::FreeSlot(Session& session) {
  free_slots_.push_back(std::exchange(session.cache.slot, -1));
  --session_slots_;
}

void SessionStore::Expire() {
  if (ttl_.count() <= 0) return;
  const auto now = clock_.Now();
  for (auto it = by_generation_.begin(); it != by_generation_.end();) {
    const SessionPtr session = (it++)->second;
    if (!session->busy && now - session->idle_since >= ttl_) Unlist(session);
  }
}

void SessionStore::EndLease(const SessionPtr& session) {
  session->busy = false;
  session->cancel = nullptr;
  if (!session->listed) FreeSlot(*session);
  turn_ended_.NotifyAll();
}

}  // namespace cascade
