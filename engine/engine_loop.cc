#include "engine/engine_loop.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/sampling/counter_random.h"
#include "engine/schedule/scheduler.h"
#include "kernels/base/check.h"

namespace cascade {
namespace {

constexpr char kNotFinite[] = "the model's logits are not finite";

kernels::SampleRequest MakeSampleRequest(const SamplingParams& sampling, uint64_t seed, uint64_t position) {
  kernels::SampleRequest request;
  request.temperature = sampling.temperature;
  request.top_k = sampling.top_k;
  request.top_p = sampling.top_p;
  request.min_p = sampling.min_p;
  request.u = CounterRandomUniform(seed, position);
  return request;
}

}  // namespace

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

void EngineLoop::ReportLostDevice(const absl::Status& cause) {
  queue_.RunBetweenSteps([&] { LoseDevice(cause); });
}

void EngineLoop::Run() {
  while (true) {
    queue_.RunWork();
    const bool stop = stop_.load();  // read before the queue: it was closed before this was set
    DropInterrupted();
    StartWaiting();
    UpdateGauges();
    if (!running_.empty() || !in_flight_.empty()) {
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
  for (auto& [id, turn] : running_) {
    const FinishReason reason = Interruption(*turn);
    if (reason == FinishReason::kNone) continue;
    if (turn->in_flight()) {
      turn->StopFeeding();
    } else {
      Interrupt(std::move(turn), reason);
    }
  }
  ForgetEnded();
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
    running_.emplace(next_turn_++, std::move(turn));
  }
}

bool EngineLoop::LaunchStep() {
  const SteadyTime now = clock_.Now();
  std::vector<RunnableTurn> runnable;
  std::vector<int64_t> ids;  // [runnable]
  for (const auto& [id, turn] : running_) {
    if (turn->rows_left() == 0) continue;
    turn->BeginStep(now);
    runnable.push_back({turn->feeds_sampled(), turn->rows_left(), turn->plan_ahead().TokensUntilCut()});
    ids.push_back(id);
  }
  if (runnable.empty()) return false;
  Batch batch(vocabulary_);
  for (const ScheduledSlice& slice : ScheduleStep(runnable, options_.max_num_batched_tokens, step_)) {
    const int64_t id = ids[static_cast<size_t>(slice.turn)];
    Turn& turn = *running_.at(id);
    // All ids before it are launched: the position of the one to come is their number.
    const auto position = static_cast<uint64_t>(turn.plan_ahead().tokens_seen() + slice.rows);
    const kernels::SampleRequest sample = MakeSampleRequest(turn.sampling(), turn.seed(), position);
    batch.Add(id, turn.cache().slot, turn.plan_ahead(), turn.Ids(slice.rows),
              turn.SamplesAfter(slice.rows) ? &sample : nullptr, turn.Targets(slice.rows));
    turn.Launched(slice.rows);
  }
  ++step_;
  if (absl::Status status = model_.Launch(batch.forward()); !status.ok()) {
    FailStep(batch, status, /*launched=*/false);
    return false;
  }
  in_flight_.push_back(std::move(batch));
  return true;
}

void EngineLoop::Step() {
  const bool launched = LaunchStep();
  const bool full = static_cast<int>(in_flight_.size()) >= model_.max_steps_in_flight();
  if (!in_flight_.empty() && (full || !launched)) CollectStep();
}

void EngineLoop::CollectStep() {
  const Batch batch = std::move(in_flight_.front());
  in_flight_.pop_front();
  const absl::Status status = model_.Collect(result_);
  metrics_.steps.fetch_add(1, std::memory_order_relaxed);
  if (!status.ok()) {
    FailStep(batch, status, /*launched=*/true);
    return;
  }
  if (const kernels::ScoreCertificates& certificates = result_.certificates; certificates.heads > 0) {
    metrics_.score_heads_predicted.fetch_add(certificates.heads, std::memory_order_relaxed);
    metrics_.score_heads_rejected.fetch_add(certificates.rejected, std::memory_order_relaxed);
    metrics_.score_certificate.store(certificates.worst, std::memory_order_relaxed);
  }
  for (const Batch::Entry& entry : batch.entries()) {
    const auto turn = running_.find(entry.turn);
    if (turn != running_.end()) TakeResults(entry, turn->second);
  }
  ForgetEnded();
}

void EngineLoop::FailStep(const Batch& batch, const absl::Status& cause, bool launched) {
  if (absl::IsDataLoss(cause)) {
    LoseDevice(cause);
    return;
  }
  const auto fail = [&](const Batch& failed) {
    for (const Batch::Entry& entry : failed.entries()) {
      const auto turn = running_.find(entry.turn);
      if (turn != running_.end() && turn->second != nullptr) Fail(std::move(turn->second), cause);
    }
  };
  fail(batch);
  // Those in flight were launched after it; or before it, and are sound.
  if (launched) {
    for (const Batch& later : in_flight_) fail(later);
  }
  ForgetEnded();
}

void EngineLoop::LoseDevice(const absl::Status& cause) {
  if (device_lost_.exchange(true)) return;
  queue_.Close();
  in_flight_.clear();  // nothing will come of them
  // Before the turns end: whoever drains wakes with the last of them, and must know by then.
  if (options_.on_device_fault) options_.on_device_fault(cause);
  const absl::Status status(cause.code(), absl::StrCat("the device has failed: ", cause.message()));
  const absl::StatusCode code = absl::StatusCode::kUnavailable;
  for (auto& [id, turn] : running_) Fail(std::move(turn), status, code);
  ForgetEnded();
  for (std::unique_ptr<Turn>& turn : queue_.Take([](Turn&) { return true; })) Fail(std::move(turn), status, code);
  UpdateGauges();
}

void EngineLoop::TakeResults(const Batch::Entry& entry, std::unique_ptr<Turn>& turn) {
  if (!turn->decoding()) metrics_.prompt_tokens.fetch_add(entry.rows, std::memory_order_relaxed);
  metrics_.tokens_evicted.fetch_add(entry.evicted, std::memory_order_relaxed);
  if (entry.closed_stride) metrics_.stride_closes.fetch_add(1, std::memory_order_relaxed);

  if (entry.num_scores > 0) {
    const auto scores = std::span<const kernels::TokenScore>(result_.scores)
                            .subspan(static_cast<size_t>(entry.first_score), static_cast<size_t>(entry.num_scores));
    if (std::any_of(scores.begin(), scores.end(), [](const auto& score) { return std::isnan(score.logprob); })) {
      Fail(std::move(turn), absl::InternalError(kNotFinite));
      return;
    }
    turn->AddScores(scores);
  }
  turn->Fed(entry.rows);
  if (entry.sample >= 0) {
    TakeSampled(entry, turn);
  } else if (turn->all_fed()) {
    End(std::move(turn), FinishReason::kLength, absl::OkStatus());
  } else if (entry.num_scores > 0) {
    turn->stream().Push(turn->TakeDelta());
  }
}

void EngineLoop::TakeSampled(const Batch::Entry& entry, std::unique_ptr<Turn>& turn) {
  const int32_t id = result_.sampled[static_cast<size_t>(entry.sample)];
  if (id == kernels::kNoId) {
    Fail(std::move(turn), absl::InternalError(kNotFinite));
    return;
  }
  metrics_.generation_tokens.fetch_add(1, std::memory_order_relaxed);
  const FinishReason reason = turn->AddSampled(id, clock_.Now());
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

void EngineLoop::Fail(std::unique_ptr<Turn> turn, const absl::Status& cause, absl::StatusCode code) {
  std::string message(cause.message().data(), cause.message().size());
  if (!turn->one_shot()) message += "; the session is lost";
  End(std::move(turn), FinishReason::kError, absl::Status(code, message), /*lose=*/true);
}

void EngineLoop::ForgetEnded() {
  std::erase_if(running_, [](const auto& turn) { return turn.second == nullptr; });
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
