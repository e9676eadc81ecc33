// How turns start and end: the loop's side towards sessions, their slots and their journals.
#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/engine_loop.h"

namespace cascade {

FinishReason EngineLoop::Interruption(const Turn& turn) const {
  return cancel_all_.load() ? FinishReason::kCancelled : turn.Interruption(clock_.Now());
}

void EngineLoop::DropInterrupted() {
  const auto interrupted = [this](const Turn& turn) { return Interruption(turn) != FinishReason::kNone; };
  for (std::unique_ptr<Turn>& turn : queue_.Take(interrupted)) {
    const FinishReason reason = Interruption(*turn);
    Running waiting(std::move(turn));
    Interrupt(waiting, reason);
  }
  for (auto& [id, running] : running_) {
    const FinishReason reason = Interruption(*running.turn);
    if (reason == FinishReason::kNone) continue;
    if (running.turn->unsettled()) {
      running.turn->StopFeeding();
    } else {
      Interrupt(running, reason);
    }
  }
  ForgetEnded();
}

// Start.

void EngineLoop::StartWaiting() {
  int seats = options_.max_num_seqs - static_cast<int>(running_.size() + coming_in_.size());
  leader_has_read_ = false;
  SlotsLeft left;  // after the first turn that finds none the later ones do not try: first come, first served
  std::set<const Turn*> late;  // they came after those were dropped, and never reach the model
  Turns started = queue_.Take([&](Turn& turn) {
    if (Interruption(turn) != FinishReason::kNone) {
      late.insert(&turn);
      return true;
    }
    // A prompt of one token, or none, that is only appended. It ends here: were it to take a seat or a slot from one
    // behind it, that one would wait with nothing running to wake us.
    if (turn.rows_left() == 0) return turn.one_shot() || !turn.lease().Place().moving;
    if (seats == 0 || !FindSlot(turn, left)) return false;
    --seats;
    return true;
  });
  for (std::unique_ptr<Turn>& turn : started) {
    if (late.contains(turn.get())) {
      const FinishReason reason = Interruption(*turn);
      Running waiting(std::move(turn));
      Interrupt(waiting, reason);
      continue;
    }
    if (turn->rows_left() == 0) {
      if (!turn->one_shot()) turn->lease().Remember(nullptr, static_cast<size_t>(options_.rewind_turns));
      Running done(std::move(turn));
      End(done, FinishReason::kLength, absl::OkStatus());
      continue;
    }
    const SessionHome home = turn->one_shot() ? SessionHome::kNone : turn->lease().Place().home;
    if (home == SessionHome::kHost || home == SessionHome::kDisk) {
      BringIn(std::move(turn));
    } else {
      StartTurn(std::move(turn));
    }
  }
  // Those that waited for it begin with its slot as it is now.
  if (leader_has_read_) return StartWaiting();
  if ((left.sessions && left.one_shot) || !running_.empty() || !coming_in_.empty() || committing_.load() > 0 ||
      mover_->MakeRoom())
    return;
  // Nothing runs whose end would free a slot, and no idle session can leave its own.
  const auto stuck = [](const Turn& turn) { return turn.one_shot() || !turn.lease().Place().moving; };
  for (std::unique_ptr<Turn>& turn : queue_.Take(stuck)) {
    Refuse(std::move(turn), absl::ResourceExhaustedError("no cache slot is free and no session can be parked"));
  }
}

bool EngineLoop::FindSlot(Turn& turn, SlotsLeft& left) {
  if (!turn.one_shot()) {
    const SessionPlace place = turn.lease().Place();
    if (place.moving) return false;  // the mover wakes us
    if (place.home == SessionHome::kSlot) {
      turn.cache().slot = place.slot;
      return true;
    }
  }
  if (WaitsForLeader(turn)) return false;
  bool& more = turn.one_shot() ? left.one_shot : left.sessions;
  std::optional<int> slot;
  if (more) slot = turn.one_shot() ? TakeOneShotSlot(turn) : sessions_.TakeSlot();
  if (!slot.has_value()) {
    more = false;
    mover_->MakeRoom();
    return false;
  }
  turn.cache().slot = *slot;
  if (!turn.one_shot()) turn.lease().TakeSlot(*slot);
  return true;
}

void EngineLoop::BringIn(std::unique_ptr<Turn> turn) {
  const int64_t id = next_turn_++;
  Session session = turn->lease().Snapshot();
  const int slot = turn->cache().slot;
  coming_in_.emplace(id, std::move(turn));
  mover_->BringIn(std::move(session), slot, [this, id](BroughtIn result) {
    queue_.Post([this, id, result = std::move(result)]() mutable { OnBroughtIn(id, std::move(result)); });
  });
}

void EngineLoop::OnBroughtIn(int64_t id, BroughtIn result) {
  const auto found = coming_in_.find(id);
  std::unique_ptr<Turn> turn = std::move(found->second);
  coming_in_.erase(found);
  if (IsLostDevice(result.status)) LoseDevice(result.status);
  if (!result.status.ok() || device_lost_.load()) {
    turn->cache().slot = -1;
    const absl::Status status = device_lost_.load() ? absl::UnavailableError("the device has failed") : result.status;
    Refuse(std::move(turn), status);
    return;
  }
  if (result.ids.empty()) {
    turn->lease().BroughtIn(result.digest);
    turn->cache().digest = result.digest;
  } else {
    turn->BeginReplay(options_.geometry, result.tokens_seen, result.digest, std::move(result.ids));
  }
  StartTurn(std::move(turn));
}

std::shared_ptr<kernels::HostMemory> EngineLoop::KeepStart(int slot, kernels::SlotPart part) {
  std::shared_ptr<kernels::HostMemory> memory;
  if (part == kernels::SlotPart::kScores) {
    memory = mover_->TryScores();
  } else if (auto fresh = model_.AllocateHost(model_.SlotBytes(part)); fresh.ok()) {
    memory = *std::move(fresh);
  }
  if (memory == nullptr) return nullptr;
  return model_.ReadSlot(slot, part, memory->bytes())->Wait().ok() ? memory : nullptr;
}

void EngineLoop::StartTurn(std::unique_ptr<Turn> turn) {
  Running running(nullptr);
  const CascadePlan& plan = turn->cache().plan;
  // Nobody has fed this slot since it was taken: it may hold another's tokens.
  if (plan.tokens_seen() == 0 && !turn->one_shot()) model_.ClearSlot(turn->cache().slot);
  if (!turn->one_shot()) {
    // Without a journal, nothing but a copy of all of it brings back what a stride's close has moved.
    const bool whole = turn->on_cancel() == OnCancel::kRollback && !turn->journaled();
    running.start_part = whole ? kernels::SlotPart::kAll : kernels::SlotPart::kScores;
    running.start_closed = plan.strides_closed();
    const bool wanted = options_.rewind_turns > 0 || turn->on_cancel() == OnCancel::kRollback;
    if (wanted && plan.tokens_seen() > 0 && !turn->replaying()) {
      running.start = KeepStart(turn->cache().slot, running.start_part);
      if (running.start == nullptr && whole) {
        Refuse(std::move(turn), absl::ResourceExhaustedError("no memory to keep the session as it is (on_cancel)"));
        return;
      }
    }
    const bool scores = running.start_part == kernels::SlotPart::kScores;
    turn->lease().Remember(scores ? running.start : nullptr, static_cast<size_t>(options_.rewind_turns));
    if (turn->journaled()) {
      running.image_tokens = turn->lease().journal()->ImageBefore(plan.tokens_seen()).value_or(0);
    }
  }
  running.turn = std::move(turn);
  const int64_t id = next_turn_++;
  Running& started = running_.emplace(id, std::move(running)).first->second;
  if (started.turn->one_shot()) BeginOneShot(id, started);
}

// End.

void EngineLoop::Interrupt(Running& running, FinishReason reason) {
  End(running, reason,
      reason == FinishReason::kDeadline ? absl::DeadlineExceededError("the deadline has passed")
                                        : absl::CancelledError("the turn was cancelled"));
}

void EngineLoop::Refuse(std::unique_ptr<Turn> turn, absl::Status status) {
  if (!turn->one_shot()) {
    turn->lease().Begin(nullptr);
    if (turn->journaled() && turn->lease().journal()->taken()) {  // here it is not known any more
      status = absl::UnavailableError(status.message());
      turn->lease().Lose();
    }
  }
  TurnDelta last = turn->Refuse(std::move(status), clock_.Now());
  turn->lease().Release();
  Deliver(*turn, std::move(last));
}

void EngineLoop::Fail(Running& running, const absl::Status& cause, absl::StatusCode code) {
  const std::unique_ptr<Turn> turn = std::move(running.turn);
  std::string message(cause.message().data(), cause.message().size());
  const bool saved = turn->journaled() || (!turn->one_shot() && turn->replaying());
  if (!turn->one_shot()) absl::StrAppend(&message, saved ? "; the session is as before" : "; the session is lost");
  TurnDelta last = turn->Finish(FinishReason::kError, absl::Status(code, message), options_.geometry,
                                static_cast<int64_t>(options_.cache_bytes_per_slot), clock_.Now());
  if (turn->one_shot()) {
    if (turn->cache().slot >= 0) sessions_.ReturnSlot(turn->cache().slot);
  } else if (saved) {
    turn->lease().Begin(nullptr);
    ForgetImages(*turn);
    turn->lease().Drop(FinishReason::kError);
  } else {
    turn->lease().Lose();
  }
  Deliver(*turn, std::move(last));
}

// Of a turn that is undone, what was made while it ran fits nothing any more.
void EngineLoop::ForgetImages(Turn& turn) {
  if (turn.journaled()) mover_->RemoveImagesAfter(turn.lease().journal(), turn.start_position());
}

void EngineLoop::End(Running& running, FinishReason reason, absl::Status status) {
  const bool interrupted = reason == FinishReason::kCancelled || reason == FinishReason::kDeadline;
  TurnDelta last = running.turn->Finish(reason, std::move(status), options_.geometry,
                                        static_cast<int64_t>(options_.cache_bytes_per_slot), clock_.Now());
  Turn& turn = *running.turn;
  if (turn.one_shot()) {
    LeaveSlot(running);
  } else if (turn.replaying()) {
    turn.lease().Drop(reason);
  } else if (interrupted && turn.on_cancel() == OnCancel::kRollback) {
    last.usage.session_tokens_seen = turn.start_position();
    TakeBack(running);
  } else if (turn.journaled() && turn.added_tokens() > 0) {
    Commit(std::move(running.turn), std::move(last));
    return;
  } else {
    Acknowledge(turn, std::move(last), Durability::kNone);
    running.turn.reset();
    return;
  }
  Deliver(turn, std::move(last));
  running.turn.reset();
}

// The session is to be what it was when the turn began.
bool EngineLoop::TakeBack(Running& running) {
  Turn& turn = *running.turn;
  turn.lease().Begin(nullptr);
  ForgetImages(turn);
  const bool fed = turn.cache().plan.tokens_seen() + 1 > turn.start_position();
  const bool kept = running.start != nullptr && (running.start_part == kernels::SlotPart::kAll ||
                                                 turn.cache().plan.strides_closed() == running.start_closed);
  if (!fed || (kept && model_.WriteSlot(turn.cache().slot, running.start_part, running.start->bytes())->Wait().ok())) {
    turn.lease().Release();
    return true;
  }
  turn.lease().Drop(FinishReason::kCancelled);
  return turn.journaled();
}

void EngineLoop::Undo(Running& running, const absl::Status& cause) {
  Turn& turn = *running.turn;
  TurnDelta last = turn.Finish(FinishReason::kError, cause, options_.geometry,
                               static_cast<int64_t>(options_.cache_bytes_per_slot), clock_.Now());
  if (turn.one_shot()) {
    if (turn.cache().slot >= 0) sessions_.ReturnSlot(turn.cache().slot);
  } else {
    last.usage.session_tokens_seen = turn.start_position();
    const bool saved = TakeBack(running);
    last.status = absl::Status(
        cause.code(),
        absl::StrCat(std::string(cause.message()), saved ? "; the session is as before" : "; the session is lost"));
  }
  Deliver(turn, std::move(last));
  running.turn.reset();
}

void EngineLoop::Commit(std::unique_ptr<Turn> turn, TurnDelta last) {
  committing_.fetch_add(1);
  TurnRecord record = turn->Record(last.finish_reason, last.stop_sequence, ToUnixMs(clock_.WallNow()));
  std::shared_ptr<Turn> shared = std::move(turn);
  const std::shared_ptr<Journal> journal = shared->lease().journal();
  commits_.Commit(journal, std::move(record), [this, shared, last = std::move(last)](absl::Status status) mutable {
    const bool image = shared->durability() == Durability::kImage && shared->cache().plan.tokens_seen() > 0;
    if (!status.ok() || !image) {
      Committed(*shared, std::move(last), Durability::kJournal, std::move(status));
      return;
    }
    // Its image first; without one, it is as durable as any other.
    mover_->WriteSlotImage(shared->lease().journal(), shared->cache(),
                           [this, shared, last = std::move(last)](absl::Status written) mutable {
                             Committed(*shared, std::move(last),
                                       written.ok() ? Durability::kImage : Durability::kJournal, absl::OkStatus());
                           });
  });
}

void EngineLoop::Committed(Turn& turn, TurnDelta last, Durability reached, absl::Status status) {
  if (status.ok()) {
    const bool due = mover_->ImageIsDue(*turn.lease().journal(), turn.cache().plan.tokens_seen());
    const std::string id = turn.lease().id();
    Acknowledge(turn, std::move(last), reached);
    if (due) mover_->RefreshImage(id);
  } else {
    // Not acknowledged, so the session stays where its journal is.
    last.finish_reason = FinishReason::kError;
    const bool taken = turn.lease().journal()->taken();
    last.status = absl::Status(
        taken                               ? absl::StatusCode::kUnavailable
        : absl::IsResourceExhausted(status) ? absl::StatusCode::kResourceExhausted
                                            : absl::StatusCode::kInternal,
        absl::StrCat("the turn could not be saved, and the session is as before: ", std::string(status.message())));
    last.usage.session_tokens_seen = turn.start_position();
    turn.lease().Begin(nullptr);
    ForgetImages(turn);
    if (taken) {
      turn.lease().Lose();
    } else {
      turn.lease().Drop(FinishReason::kError);
    }
    Deliver(turn, std::move(last));
  }
  committing_.fetch_sub(1);
  queue_.Wake();
}

void EngineLoop::Acknowledge(Turn& turn, TurnDelta last, Durability reached) {
  const bool counts = turn.added_tokens() > 0;
  if (counts) {
    last.acknowledgement = Acknowledgement{
        .turn = turn.turns_before() + 1, .digest = turn.cache().position_digest(), .durability = reached};
  }
  turn.lease().Finish(turn.cache(), turn.reply_end(), last.finish_reason, counts);
  Deliver(turn, std::move(last));
}

void EngineLoop::Deliver(Turn& turn, TurnDelta last) {
  auto& counter = last.finish_reason == FinishReason::kError ? metrics_.turns_failed : metrics_.turns_finished;
  counter.fetch_add(1, std::memory_order_relaxed);
  mover_->SomethingChanged();
  LeaveReplies(turn);
  turn.Push(std::move(last));
  queue_.Done(1);
}

}  // namespace cascade
