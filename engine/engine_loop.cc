#include "engine/engine_loop.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/sampling/counter_random.h"
#include "engine/schedule/scheduler.h"
#include "kernels/base/check.h"

namespace cascade {

EngineLoop::EngineLoop(const EngineOptions& options, Model& model, int vocabulary, SessionStore& sessions, Clock& clock,
                       Metrics& metrics)
    : options_(options),
      model_(model),
      vocabulary_(vocabulary),
      sessions_(sessions),
      clock_(clock),
      metrics_(metrics),
      queue_(options.max_num_queued_requests),
      thread_([this] { Run(); }) {}

EngineLoop::~EngineLoop() {
  queue_.Close();
  CancelAll();
  stop_.store(true);
  queue_.Wake();
  thread_.join();
}

void EngineLoop::CancelAll() {
  cancel_all_.store(true);
  queue_.Wake();
}

void EngineLoop::Run() {
  while (true) {
    queue_.RunWork();
    const bool stop = stop_.load();  // read before the queue: it was closed before this was set
    DropInterrupted();
    StartWaiting();
    UpdateGauges();
    if (!running_.empty()) {
      Step();
    } else if (stop) {
      break;
    } else {
      queue_.WaitForWork();
    }
  }
  queue_.Stop();
}

FinishReason EngineLoop::Interruption(const Turn& turn) const {
  return cancel_all_.load() ? FinishReason::kCancelled : turn.Interruption(clock_.Now());
}

void EngineLoop::DropInterrupted() {
  const auto interrupted = [this](const Turn& turn) { return Interruption(turn) != FinishReason::kNone; };
  for (std::unique_ptr<Turn>& turn : queue_.Take(interrupted)) {
    const FinishReason reason = Interruption(*turn);
    Interrupt(std::move(turn), reason);
  }
  for (std::unique_ptr<Turn>& turn : running_) {
    const FinishReason reason = Interruption(*turn);
    if (reason != FinishReason::kNone) Interrupt(std::move(turn), reason);
  }
  std::erase(running_, nullptr);
}

void EngineLoop::StartWaiting() {
  int seats = options_.max_num_seqs - static_cast<int>(running_.size());
  bool slots =
      true;  // after the first one-shot turn that finds none the later ones do not try: first come, first served
  Turns started = queue_.Take([&](Turn& turn) {
    // A prompt of one token, or none, that is only appended. It ends here: were it to take a seat or a slot from one
    // behind it, that one would wait with nothing running to wake us.
    if (turn.rows_left() == 0) return true;
    if (seats == 0) return false;
    if (turn.one_shot()) {
      const std::optional<int> slot = slots ? sessions_.TakeSlot() : std::nullopt;
      slots = slot.has_value();
      if (!slots) return false;
      turn.cache().slot = *slot;
    }
    --seats;
    return true;
  });
  for (std::unique_ptr<Turn>& turn : started) {
    if (turn->rows_left() == 0) {
      End(std::move(turn), FinishReason::kLength, absl::OkStatus());
      continue;
    }
    // Nobody has fed this slot since it was taken: it may hold another's tokens.
    if (turn->cache().plan.tokens_seen() == 0) model_.ClearSlot(turn->cache().slot);
    running_.push_back(std::move(turn));
  }
}

void EngineLoop::PlanStep(SteadyTime now) {
  std::vector<RunnableTurn> runnable;
  for (const std::unique_ptr<Turn>& turn : running_) {
    turn->BeginStep(now);
    runnable.push_back({turn->decoding(), turn->rows_left(), turn->cache().plan.TokensUntilCut()});
  }
  batch_.Clear();
  for (const ScheduledSlice& slice : ScheduleStep(runnable, options_.max_num_batched_tokens, step_)) {
    Turn& turn = *running_[static_cast<size_t>(slice.turn)];
    batch_.Add(slice.turn, turn.cache().slot, turn.cache().plan, turn.Ids(slice.rows), turn.SamplesAfter(slice.rows),
               turn.Targets(slice.rows));
  }
  ++step_;
}

void EngineLoop::Step() {
  PlanStep(clock_.Now());
  const absl::Status status = model_.Forward(batch_.forward(), result_);
  metrics_.steps.fetch_add(1, std::memory_order_relaxed);
  for (const Batch::Entry& entry : batch_.entries()) {
    std::unique_ptr<Turn>& turn = running_[static_cast<size_t>(entry.turn)];
    if (!status.ok()) {
      Fail(std::move(turn), status);
    } else {
      TakeResults(entry, turn);
    }
  }
  std::erase(running_, nullptr);
}

void EngineLoop::TakeResults(const Batch::Entry& entry, std::unique_ptr<Turn>& turn) {
  if (!turn->decoding()) metrics_.prompt_tokens.fetch_add(entry.rows, std::memory_order_relaxed);
  metrics_.tokens_evicted.fetch_add(entry.evicted, std::memory_order_relaxed);
  if (entry.closed_stride) metrics_.stride_closes.fetch_add(1, std::memory_order_relaxed);

  if (entry.num_scores > 0) {
    const auto scores = std::span<const kernels::TokenScore>(result_.scores)
                            .subspan(static_cast<size_t>(entry.first_score), static_cast<size_t>(entry.num_scores));
    if (std::any_of(scores.begin(), scores.end(), [](const auto& score) { return std::isnan(score.logprob); })) {
      Fail(std::move(turn), absl::InternalError("the model's logits are not finite"));
      return;
    }
    turn->AddScores(turn->Targets(entry.rows), scores);
  }
  turn->Fed(entry.rows);
  if (entry.logits_index >= 0) {
    Sample(entry, turn);
  } else if (turn->rows_left() == 0) {
    End(std::move(turn), FinishReason::kLength, absl::OkStatus());
  } else if (entry.num_scores > 0) {
    turn->stream().Push(turn->TakeDelta());
  }
}

void EngineLoop::Sample(const Batch::Entry& entry, std::unique_ptr<Turn>& turn) {
  const size_t row = static_cast<size_t>(entry.logits_index) * static_cast<size_t>(model_.vocabulary());
  const auto logits = std::span<const float>(result_.logits).subspan(row, static_cast<size_t>(vocabulary_));
  // All ids are fed: the position of the one to come is their number.
  const auto position = static_cast<uint64_t>(turn->cache().plan.tokens_seen());
  const absl::StatusOr<int32_t> id =
      sampler_.Sample(logits, turn->sampling(), CounterRandomUniform(turn->seed(), position));
  if (!id.ok()) {
    Fail(std::move(turn), id.status());
    return;
  }
  metrics_.generation_tokens.fetch_add(1, std::memory_order_relaxed);
  const FinishReason reason = turn->AddSampled(*id, clock_.Now());
  if (reason != FinishReason::kNone) {
    End(std::move(turn), reason, absl::OkStatus());
  } else {
    turn->stream().Push(turn->TakeDelta());
  }
}

void EngineLoop::Interrupt(std::unique_ptr<Turn> turn, FinishReason reason) {
  End(std::move(turn), reason,
      reason == FinishReason::kDeadline ? absl::DeadlineExceededError("the deadline has passed")
                                        : absl::CancelledError("the turn was cancelled"));
}

void EngineLoop::Fail(std::unique_ptr<Turn> turn, const absl::Status& cause) {
  std::string message(cause.message().data(), cause.message().size());
  if (!turn->one_shot()) message += "; the session is lost";
  End(std::move(turn), FinishReason::kError, absl::InternalError(message), /*lose=*/true);
}

void EngineLoop::End(std::unique_ptr<Turn> turn, FinishReason reason, absl::Status status, bool lose) {
  TurnDelta last = turn->Finish(reason, std::move(status), options_.geometry,
                                static_cast<int64_t>(options_.cache_bytes_per_slot), clock_.Now());
  if (turn->one_shot()) {
    if (turn->cache().slot >= 0) sessions_.ReturnSlot(turn->cache().slot);
  } else if (lose) {
    turn->lease().Lose();
  } else {
    turn->lease().Finish(turn->cache(), turn->reply_end(), reason);
  }
  auto& counter = reason == FinishReason::kError ? metrics_.turns_failed : metrics_.turns_finished;
  counter.fetch_add(1, std::memory_order_relaxed);
  const std::shared_ptr<TokenStream> stream = turn->shared_stream();
  turn.reset();
  stream->Push(std::move(last));
  queue_.Done(1);
}

void EngineLoop::UpdateGauges() {
  metrics_.turns_running.store(static_cast<int>(running_.size()), std::memory_order_relaxed);
  metrics_.turns_waiting.store(queue_.size(), std::memory_order_relaxed);
}

}  // namespace cascade
