#include "engine/session/session_lease.h"

#include <utility>

#include "engine/session/session_store.h"
#include "kernels/base/check.h"

namespace cascade {

SessionLease& SessionLease::operator=(SessionLease&& other) noexcept {
  if (this != &other) {
    Release();
    store_ = std::exchange(other.store_, nullptr);
    session_ = std::move(other.session_);
    other.session_ = nullptr;
  }
  return *this;
}

SessionPlace SessionLease::Place() const {
  MutexLock lock(store_->mutex_);
  return {.moving = session_->moving, .home = session_->home, .slot = session_->cache.slot};
}

Session SessionLease::Snapshot() const {
  MutexLock lock(store_->mutex_);
  return *session_;
}

void SessionLease::TakeSlot(int slot) {
  MutexLock lock(store_->mutex_);
  CASCADE_CHECK(session_->cache.slot < 0 && !session_->moving);
  session_->cache.slot = slot;
  if (session_->durability == Durability::kNone) ++store_->memory_slots_;
}

void SessionLease::BroughtIn(uint64_t digest) {
  MutexLock lock(store_->mutex_);
  CASCADE_CHECK(session_->cache.slot >= 0);
  session_->home = SessionHome::kSlot;
  session_->cache.digest = digest;
  session_->host.reset();
  session_->replay.clear();
}

void SessionLease::Begin(std::shared_ptr<TurnLog> log) {
  MutexLock lock(store_->mutex_);
  session_->last_turn = std::move(log);
}

void SessionLease::Remember(std::shared_ptr<kernels::HostMemory> scores, size_t keep) {
  MutexLock lock(store_->mutex_);
  if (keep == 0) return;
  std::deque<TurnStart>& starts = session_->turn_starts;
  // A turn that did not count began at the same place.
  while (!starts.empty() && starts.back().turns >= session_->turns) starts.pop_back();
  starts.push_back({session_->cache, session_->digest, session_->reply_end, session_->last_finish, session_->turns,
                    std::move(scores)});
  starts.back().cache.slot = -1;
  while (starts.size() > keep) starts.pop_front();
}

void SessionLease::Finish(const SessionCache& cache, ReplyEnd reply_end, FinishReason reason, bool counts) {
  CASCADE_CHECK(held());
  const auto session = std::move(session_);
  MutexLock lock(store_->mutex_);
  // A turn that has not started does not know whether its session has one, nor what a cache on disk has seen.
  const int slot = session->cache.slot;
  const bool changed =
      cache.position() != session->cache.position() || cache.plan.tokens_seen() != session->cache.plan.tokens_seen();
  if (changed) {
    session->cache = cache;
    session->cache.slot = slot;
    session->digest = cache.position_digest();
  }
  if (changed && slot >= 0 && cache.plan.tokens_seen() > 0) {
    session->home = SessionHome::kSlot;
    session->host.reset();
    session->replay.clear();
  }
  session->reply_end = reply_end;
  session->last_finish = reason;
  if (counts) {
    ++session->turns;
    session->acknowledged_turn = session->last_turn;
  }
  session->last_used = store_->clock_.WallNow();
  session->idle_since = store_->clock_.Now();
  store_->EndLease(session);
}

void SessionLease::Drop(FinishReason reason) {
  CASCADE_CHECK(held());
  const auto session = std::move(session_);
  MutexLock lock(store_->mutex_);
  if (session->home == SessionHome::kSlot && session->cache.plan.tokens_seen() > 0) {
    if (session->journal == nullptr) {
      if (session->listed) store_->Unlist(session);
    } else {
      session->home = SessionHome::kDisk;
    }
  }
  session->last_finish = reason;
  session->last_used = store_->clock_.WallNow();
  session->idle_since = store_->clock_.Now();
  // What the slot holds is not the session's.
  if (session->cache.slot >= 0) store_->FreeSlot(*session);
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

SessionInfo SessionLease::Become(const Session& other) {
  CASCADE_CHECK(held());
  const auto session = std::move(session_);
  MutexLock lock(store_->mutex_);
  const int slot = session->cache.slot;
  session->label = other.label;
  session->journal = other.journal;
  session->cache = other.cache;
  session->cache.slot = slot;
  session->digest = other.digest;
  session->home = other.home;
  session->host = other.host;
  session->replay = other.replay;
  session->reply_end = other.reply_end;
  session->turn_starts = other.turn_starts;
  session->last_turn = other.last_turn;
  session->acknowledged_turn = other.acknowledged_turn;
  session->turns = other.turns;
  session->last_finish = other.last_finish;
  session->last_used = store_->clock_.WallNow();
  session->idle_since = store_->clock_.Now();
  session->busy = false;
  const SessionInfo info = DescribeSession(*session, store_->geometry_, store_->limits_.ttl);
  store_->EndLease(session);
  return info;
}

}  // namespace cascade
