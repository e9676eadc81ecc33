#include "engine/rewind.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace cascade {
namespace {

absl::Status CheckRequest(const RewindRequest& request) {
  if (request.to_turn.has_value() && request.take_back.has_value()) {
    return absl::InvalidArgumentError("to_turn must not be set with take_back");
  }
  if (request.to_turn.value_or(0) < 0) {
    return absl::InvalidArgumentError(absl::StrCat("to_turn must be at least 0, got ", *request.to_turn));
  }
  if (request.take_back.value_or(1) < 1) {
    return absl::InvalidArgumentError(absl::StrCat("take_back must be at least 1, got ", *request.take_back));
  }
  return absl::OkStatus();
}

// Where the session's turn number `turn` began.
absl::StatusOr<TurnStart> FindStart(const EngineOptions& options, const Session& session, int64_t turn,
                                    bool allow_replay) {
  for (const TurnStart& start : session.turn_starts) {
    if (start.turns == turn) return start;
  }
  if (session.journal == nullptr) {
    return absl::FailedPreconditionError("that turn is too old: the session has no journal to read it again from");
  }
  if (!allow_replay) {
    return absl::FailedPreconditionError(
        absl::StrCat("that turn is older than the newest ", options.rewind_turns,
                     " (--rewind-turns); with allow_replay all before it is read again"));
  }
  const absl::StatusOr<JournalPlace> place = session.journal->FindTurnStart(turn);
  if (!place.ok()) return absl::FailedPreconditionError(std::string(place.status().message()));
  return TurnStart{
      CacheAt(options.geometry, *place), place->digest, place->reply_end, place->last_finish, place->turns, nullptr};
}

}  // namespace

absl::StatusOr<SessionInfo> Rewind(const EngineOptions& options, const RewindRequest& request, int64_t now_ms,
                                   SessionStore& sessions, CommitQueue& commits, Model& model,
                                   const BetweenSteps& between_steps) {
  if (absl::Status status = CheckRequest(request); !status.ok()) return status;
  absl::StatusOr<AcquiredSession> acquired = sessions.AcquireStill(request.session_id, request.expected_position);
  if (!acquired.ok()) return acquired.status();
  SessionLease& lease = acquired->lease;
  Session session = lease.Snapshot();
  const int64_t turn = request.to_turn.value_or(session.turns - request.take_back.value_or(1));
  if (turn < 0 || turn > session.turns) {
    return absl::InvalidArgumentError(absl::StrCat(request.to_turn.has_value() ? "to_turn" : "take_back",
                                                   " must be at most ", session.turns,
                                                   ", the turns that the session has"));
  }
  if (turn == session.turns) return lease.Become(session);
  absl::StatusOr<TurnStart> start = FindStart(options, session, turn, request.allow_replay);
  if (!start.ok()) return start.status();

  const int64_t fed = start->cache.plan.tokens_seen();
  const bool in_slot = session.home == SessionHome::kSlot && start->scores != nullptr && fed > 0 &&
                       start->cache.plan.strides_closed() == session.cache.plan.strides_closed();
  if (fed > 0 && !in_slot && session.journal == nullptr) {
    return absl::FailedPreconditionError(
        "the session's cache has moved on since that turn, and it has no journal to make it again from");
  }
  if (session.journal != nullptr) {
    RewindRecord record;
    record.position = start->cache.position();
    record.turns = start->turns;
    record.digest = start->digest;
    record.last_id = start->cache.pending.value_or(-1);
    record.reply_end = start->reply_end;
    record.last_finish = start->last_finish;
    record.ended_ms = now_ms;
    if (absl::Status status = commits.CommitAndWait(session.journal, record); !status.ok()) return status;
    // Images that saw more fit nothing any more; one that stays is passed over.
    session.journal->RemoveImagesAfter(fed).IgnoreError();
  }
  absl::Status status;
  if (in_slot) {
    status = CopyBetweenSteps(between_steps, [&] {
      return model.WriteSlot(session.cache.slot, kernels::SlotPart::kScores, start->scores->bytes());
    });
  }
  session.home = fed == 0 ? SessionHome::kNone : in_slot && status.ok() ? SessionHome::kSlot : SessionHome::kDisk;
  if (session.home == SessionHome::kDisk && session.journal == nullptr) {
    lease.Lose();  // half of its scores may have been written
    return status;
  }
  session.cache = start->cache;
  session.digest = start->digest;
  session.host.reset();
  session.replay.clear();
  session.reply_end = start->reply_end;
  session.last_finish = start->last_finish;
  session.turns = start->turns;
  session.last_turn.reset();
  session.acknowledged_turn.reset();
  while (!session.turn_starts.empty() && session.turn_starts.back().turns >= start->turns)
    session.turn_starts.pop_back();
  const SessionInfo info = lease.Become(session);
  if (IsLostDevice(status)) return status;
  return info;
}

}  // namespace cascade
