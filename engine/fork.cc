#include "engine/fork.h"

#include <cstring>
#include <utility>

namespace cascade {
namespace {

// The new session's place for its cache, of `origin`; sets home, host and, with a slot, takes that for `lease`.
absl::Status CopyCache(const Session& origin, Session& fork, SessionLease& lease, SessionStore& sessions, Model& model,
                       const BetweenSteps& between_steps) {
  fork.home = origin.home;
  if (origin.home == SessionHome::kNone || origin.home == SessionHome::kDisk) return absl::OkStatus();
  const std::optional<int> slot = origin.home == SessionHome::kSlot ? sessions.TakeSlot() : std::nullopt;
  if (slot.has_value()) {
    lease.TakeSlot(*slot);
    absl::Status status;
    const bool ran = between_steps([&] { status = model.CopySlot(origin.cache.slot, *slot); });
    return ran ? OfDevice(status) : ServerStopping();
  }
  if (origin.journal != nullptr) {
    fork.home = SessionHome::kDisk;
    return absl::OkStatus();
  }
  if (origin.home == SessionHome::kHost && origin.host != nullptr) {
    auto memory = model.AllocateHost(origin.host->bytes().size());
    if (!memory.ok()) return memory.status();
    std::memcpy((*memory)->bytes().data(), origin.host->bytes().data(), origin.host->bytes().size());
    fork.host = *std::move(memory);
    return absl::OkStatus();
  }
  return origin.home == SessionHome::kHost
             ? absl::OkStatus()  // ids alone
             : absl::ResourceExhaustedError("no cache slot is free for the fork; delete a session or come back later");
}

}  // namespace

absl::StatusOr<SessionInfo> Fork(const EngineOptions& options, const std::string& id, const std::string& label,
                                 std::optional<int64_t> expected_position, SessionStore& sessions, Model& model,
                                 const BetweenSteps& between_steps) {
  if (absl::Status status = ValidateLabel(label); !status.ok()) return status;
  absl::StatusOr<AcquiredSession> acquired = sessions.AcquireStill(id, expected_position);
  if (!acquired.ok()) return acquired.status();
  const Session origin = acquired->lease.Snapshot();
  absl::StatusOr<AcquiredSession> made = sessions.CreateBusy(label, origin.durability);
  if (!made.ok()) return made.status();
  Session fork = made->lease.Snapshot();
  absl::Status status;
  if (origin.journal != nullptr) {
    JournalState state = ToJournalState(fork);
    state.place = ToJournalState(origin).place;
    state.place.turns = 0;
    absl::StatusOr<std::unique_ptr<Journal>> journal = origin.journal->Fork(fork.key, state);
    status = journal.status();
    if (journal.ok()) fork.journal = *std::move(journal);
  }
  fork.cache = origin.cache;
  fork.digest = origin.digest;
  fork.replay = origin.replay;
  fork.reply_end = origin.reply_end;
  if (status.ok()) status = CopyCache(origin, fork, made->lease, sessions, model, between_steps);
  if (!status.ok()) {
    if (fork.journal != nullptr) fork.journal->Remove().IgnoreError();
    made->lease.Lose();
    return status;
  }
  return made->lease.Become(fork);
}

}  // namespace cascade
