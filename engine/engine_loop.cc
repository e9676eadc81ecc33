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

EngineLoop::EngineLoop(const EngineOptions& options, Model& model, int vocabulary, SessionStore& sessions,
                       CommitQueue& commits, Clock& clock, Metrics& metrics)
    : options_(options),
      model_(model),
      vocabulary_(vocabulary),
      sessions_(sessions),
      commits_(commits),
      clock_(clock),
      metrics_(metrics),
      queue_(options.max_num_queued_requests) {}

void EngineLoop::Start(Mover& mover) {
  mover_ = &mover;
  thread_ = std::thread([this] { Run(); });
}

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
    } else if (stop && coming_in_.empty() && committing_.load() == 0) {
      break;
    } else {
      queue_.WaitForWork();
    }
  }
  queue_.Stop();
}

bool EngineLoop::LaunchStep() {
  const SteadyTime now = clock_.Now();
  std::vector<RunnableTurn> runnable;
  std::vector<int64_t> ids;  // [runnable]
  for (const auto& [id, running] : running_) {
    Turn& turn = *running.turn;
    if (turn.rows_left() == 0) continue;
    turn.BeginStep(now);
    runnable.push_back({turn.feeds_sampled(), turn.rows_left(), turn.plan_ahead().TokensUntilCut()});
    ids.push_back(id);
  }
  if (runnable.empty()) return false;
  Batch batch(vocabulary_);
  for (const ScheduledSlice& slice : ScheduleStep(runnable, options_.max_num_batched_tokens, step_)) {
    const int64_t id = ids[static_cast<size_t>(slice.turn)];
    Turn& turn = *running_.at(id).turn;
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
    const auto running = running_.find(entry.turn);
    if (running == running_.end()) continue;
    TakeResults(entry, running->second);
    if (running->second.turn != nullptr) KeepImage(running->second);
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
      const auto running = running_.find(entry.turn);
      if (running != running_.end() && running->second.turn != nullptr) Fail(running->second, cause);
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
  for (auto& [id, running] : running_) Fail(running, status, code);
  ForgetEnded();
  for (std::unique_ptr<Turn>& turn : queue_.Take([](Turn&) { return true; })) {
    Running waiting(std::move(turn));
    Fail(waiting, status, code);
  }
  UpdateGauges();
}

void EngineLoop::TakeResults(const Batch::Entry& entry, Running& running) {
  Turn& turn = *running.turn;
  if (turn.replaying()) {
    metrics_.replayed_tokens.fetch_add(entry.rows, std::memory_order_relaxed);
  } else if (!turn.decoding()) {
    metrics_.prompt_tokens.fetch_add(entry.rows, std::memory_order_relaxed);
  }
  metrics_.tokens_evicted.fetch_add(entry.evicted, std::memory_order_relaxed);
  if (entry.closed_stride) metrics_.stride_closes.fetch_add(1, std::memory_order_relaxed);

  if (entry.num_scores > 0) {
    const auto scores = std::span<const kernels::TokenScore>(result_.scores)
                            .subspan(static_cast<size_t>(entry.first_score), static_cast<size_t>(entry.num_scores));
    if (std::any_of(scores.begin(), scores.end(), [](const auto& score) { return std::isnan(score.logprob); })) {
      Fail(running, absl::InternalError(kNotFinite));
      return;
    }
    turn.AddScores(scores);
  }
  turn.Fed(entry.rows);
  if (entry.sample >= 0) {
    TakeSampled(entry, running);
  } else if (turn.all_fed()) {
    End(running, FinishReason::kLength, absl::OkStatus());
  } else if (entry.num_scores > 0) {
    turn.Publish();
  }
}

void EngineLoop::TakeSampled(const Batch::Entry& entry, Running& running) {
  const int32_t id = result_.sampled[static_cast<size_t>(entry.sample)];
  if (id == kernels::kNoId) {
    Fail(running, absl::InternalError(kNotFinite));
    return;
  }
  metrics_.generation_tokens.fetch_add(1, std::memory_order_relaxed);
  const FinishReason reason = running.turn->AddSampled(id, clock_.Now());
  if (reason != FinishReason::kNone) {
    End(running, reason, absl::OkStatus());
  } else {
    running.turn->Publish();
  }
}

// A long turn must not be read again from its begin after a crash that comes later: images are made while it runs. What
// is in flight may write to the slot, so that ends first.
void EngineLoop::KeepImage(Running& running) {
  Turn& turn = *running.turn;
  const int64_t tokens_seen = turn.cache().plan.tokens_seen();
  if (!turn.journaled() || tokens_seen - running.image_tokens < mover_->image_interval()) return;
  turn.Pause(turn.in_flight());
  if (turn.in_flight()) return;
  // Without memory for it now, there will be some at a later step.
  const std::shared_ptr<kernels::HostMemory> memory = mover_->TryStaging();
  if (memory == nullptr) return;
  const absl::Status status =
      model_.ReadSlot(turn.cache().slot, kernels::SlotPart::kAll, memory->bytes())->Wait();
  if (!status.ok()) return;  // a device that is lost says so again
  mover_->WriteImage(turn.lease().journal(), tokens_seen, turn.cache().digest, memory);
  running.image_tokens = tokens_seen;
}

void EngineLoop::ForgetEnded() {
  std::erase_if(running_, [](const auto& entry) { return entry.second.turn == nullptr; });
}

void EngineLoop::UpdateGauges() {
  metrics_.turns_running.store(static_cast<int>(running_.size() + coming_in_.size()), std::memory_order_relaxed);
  metrics_.turns_waiting.store(queue_.size(), std::memory_order_relaxed);
}

}  // namespace cascade
