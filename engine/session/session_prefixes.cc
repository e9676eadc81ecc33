// The store's part about slots that nobody has: free ones, and those of the prefix cache, which count as free.
#include <algorithm>
#include <utility>

#include "engine/session/session_store.h"

namespace cascade {

// A session that is gone may have its slot still, so there may be more of those.
bool SessionStore::MayTakeSlot(bool one_shot) {
  const int kept = one_shot && limits_.host_places == 0 ? std::max(0, memory_sessions_ - memory_slots_) : 0;
  return static_cast<int>(free_slots_.size()) + prefixes_.size() > kept;
}

std::optional<int> SessionStore::AnySlot() {
  if (free_slots_.empty()) return prefixes_.Evict();
  const int slot = free_slots_.back();
  free_slots_.pop_back();
  return slot;
}

std::optional<int> SessionStore::TakeSlot(bool one_shot) {
  MutexLock lock(mutex_);
  Expire();
  return MayTakeSlot(one_shot) ? AnySlot() : std::nullopt;
}

std::optional<PrefixStart> SessionStore::TakeSlotFor(const PrefixQuery& query) {
  MutexLock lock(mutex_);
  Expire();
  if (!MayTakeSlot(/*one_shot=*/true)) return std::nullopt;
  if (std::optional<PrefixStart> start = prefixes_.Begin(query, free_slots_)) return start;
  PrefixStart start;
  start.slot = *AnySlot();
  return start;
}

void SessionStore::ReturnSlot(int slot) {
  MutexLock lock(mutex_);
  free_slots_.push_back(slot);
}

uint64_t SessionStore::KeepPrefix(Prefix prefix) {
  MutexLock lock(mutex_);
  return prefixes_.Insert(std::move(prefix), free_slots_);
}

std::optional<int> SessionStore::TakeSlotToKeep(const PrefixQuery& query) {
  MutexLock lock(mutex_);
  return prefixes_.Touch(query) ? std::nullopt : AnySlot();
}

void SessionStore::ForgetPrefixes() {
  MutexLock lock(mutex_);
  prefixes_.Clear(free_slots_);
}

int SessionStore::slots_free() {
  MutexLock lock(mutex_);
  Expire();
  return static_cast<int>(free_slots_.size()) + prefixes_.size();
}

int SessionStore::prefixes() {
  MutexLock lock(mutex_);
  return prefixes_.size();
}

}  // namespace cascade
