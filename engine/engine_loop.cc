#include "engine/engine_loop.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/sampling/sample_request.h"
#include "engine/schedule/scheduler.h"
#include "kernels/base/check.h"

namespace cascade {
namespace {

constexpr char kNotFinite[] = "the model's logits are not finite";

// Rows of a step whose logits the host gets: 16 MiB of a vocabulary of 128k.
constexpr int kMaxLogitRows = 32;

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
      queue_(options.max_num_queued_requests),
      pool_(SamplingPool::DefaultThreads()) {}

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
      if (!Step()) queue_.WaitForWork();
    } else if (stop && coming_in_.empty() && committing_.load() == 0) {
      break;
    } else {
      queue_.WaitForWork();
    }
  }
  queue_.Stop();
}

std::set<int64_t> EngineLoop::WithoutLogits() {
  std::vector<std::pair<int64_t, int>> wanted;  // turns, and how many rows
  int64_t total = 0;
  for (const auto& [id, running] : running_) {
    if (running.turn->rows_left() == 0 || running.turn->most_logits() == 0) continue;
    wanted.emplace_back(id, running.turn->most_logits());
    total += wanted.back().second;
  }
  std::set<int64_t> without;
  if (total <= kMaxLogitRows) return without;
  const auto next =
      std::find_if(wanted.begin(), wanted.end(), [&](const auto& one) { return one.first > last_logits_turn_; });
  std::rotate(wanted.begin(), next, wanted.end());
  int left = kMaxLogitRows;
  for (const auto& [id, rows] : wanted) {
    left -= rows;
    if (left < 0) {
      without.insert(id);
    } else {
      last_logits_turn_ = id;
    }
  }
  return without;
}

EngineLoop::Launch EngineLoop::LaunchStep() {
  const SteadyTime now = clock_.Now();
  std::vector<RunnableTurn> runnable;
  std::vector<int64_t> ids;  // [runnable]
  const std::set<int64_t> without_logits = WithoutLogits();
  for (auto& [id, running] : running_) {
    Turn& turn = *running.turn;
    if (turn.rows_left() == 0 || without_logits.contains(id) || !MayLaunch(running)) continue;
    turn.BeginStep(now);
    runnable.push_back({turn.feeds_sampled(), turn.rows_left(), turn.plan_ahead().TokensUntilCut()});
    ids.push_back(id);
  }
  if (runnable.empty()) return Launch::kNothing;
  Batch batch(vocabulary_);
  for (const ScheduledSlice& slice : ScheduleStep(runnable, options_.max_num_batched_tokens, step_)) {
    const int64_t id = ids[static_cast<size_t>(slice.turn)];
    Turn& turn = *running_.at(id).turn;
    // All ids before it are launched: the position of the one to come is their number.
    const auto position = static_cast<uint64_t>(turn.plan_ahead().tokens_seen() + slice.rows);
    const kernels::SampleRequest sample = MakeSampleRequest(turn.sampling(), turn.seed(), position);
    const LogitRows logits = {turn.FirstLogits(slice.rows), slice.rows, turn.SamplesOnHost(slice.rows)};
    // Of a step that may be recorded every row is sampled from.
    const bool sampled =
        turn.SamplesAfter(slice.rows) && (!logits.samples || (slice.rows == 1 && model_.max_steps_in_flight() > 1));
    batch.Add(id, turn.cache().slot, turn.plan_ahead(), turn.Ids(slice.rows), sampled ? &sample : nullptr,
              turn.Targets(slice.rows), logits);
    turn.Launched(slice.rows);
  }
  ++step_;
  if (absl::Status status = model_.Launch(batch.forward()); !status.ok()) {
    FailStep(batch, status, /*launched=*/false);
    return Launch::kFailed;
  }
  in_flight_.push_back(std::move(batch));
  return Launch::kDone;
}

bool EngineLoop::Step() {
  const Launch launch = LaunchStep();
  const bool full = static_cast<int>(in_flight_.size()) >= model_.max_steps_in_flight();
  if (in_flight_.empty()) return launch != Launch::kNothing;
  if (full || launch != Launch::kDone) CollectStep();
  return true;
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
    if (running->second.turn == nullptr) continue;
    KeepImage(running->second);
    KeepMark(running->second);
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
  sessions_.ForgetPrefixes();
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
  if (entry.num_logits > 0) {
    SampleOnHost(entry, turn);
    return;
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
  Sampled(running, id, std::nullopt);
}

void EngineLoop::Sampled(Running& running, int32_t id, std::optional<TokenLogprobs> logprobs) {
  metrics_.generation_tokens.fetch_add(1, std::memory_order_relaxed);
  const FinishReason reason = running.turn->AddSampled(id, clock_.Now(), std::move(logprobs));
  if (reason != FinishReason::kNone) {
    End(running, reason, absl::OkStatus());
  } else {
    running.turn->Publish();
  }
}

// The turn's rows leave the model's memory here: that is the next step's.
void EngineLoop::SampleOnHost(const Batch::Entry& entry, Turn& turn) {
  HostRows rows = turn.BeginHost(entry.rows, entry.samples_on_host);
  const auto model_vocabulary = static_cast<size_t>(model_.vocabulary());
  const auto size = static_cast<size_t>(turn.host()->row_size());
  rows.logits.reserve(size * static_cast<size_t>(entry.num_logits));
  for (int i = 0; i < entry.num_logits; ++i) {
    const auto row = result_.logits.subspan(static_cast<size_t>(entry.first_logits + i) * model_vocabulary, size);
    rows.logits.insert(rows.logits.end(), row.begin(), row.end());
  }
  // The turn may be gone when it is done; the job shares what it needs.
  const auto job = std::make_shared<HostRows>(std::move(rows));
  pool_.Post([this, id = entry.turn, host = turn.host(), job](kernels::Sampler& sampler) {
    host->Run(std::move(*job), sampler, [this, id](HostResult result) {
      const auto shared = std::make_shared<HostResult>(std::move(result));
      queue_.Post([this, id, shared] { OnHostResult(id, std::move(*shared)); });
    });
  });
}

void EngineLoop::OnHostResult(int64_t id, HostResult result) {
  const auto found = running_.find(id);
  if (found == running_.end()) return;  // the device was lost meanwhile
  Running& running = found->second;
  Turn& turn = *running.turn;
  turn.EndHost(result);
  if (absl::IsInvalidArgument(result.status)) {
    Undo(running, result.status);
  } else if (!result.status.ok()) {
    Fail(running, result.status);
  } else if (result.id.has_value()) {
    Sampled(running, *result.id, std::move(result.logprobs));
  } else if (turn.all_fed()) {
    End(running, FinishReason::kLength, absl::OkStatus());
  } else {
    turn.Publish();
  }
  if (running.turn != nullptr) KeepImage(running);
  ForgetEnded();
}

// A long turn must not be read again from its begin after a crash that comes later: images are made while it runs. What
// is in flight may write to the slot, so that ends first.
void EngineLoop::KeepImage(Running& running) {
  Turn& turn = *running.turn;
  turn.Pause(false);
  const int64_t tokens_seen = turn.cache().plan.tokens_seen();
  if (!turn.journaled() || turn.awaiting() || tokens_seen - running.image_tokens < mover_->image_interval()) return;
  turn.Pause(turn.in_flight());
  if (turn.in_flight()) return;
  // Without memory for it now, there will be some at a later step.
  const std::shared_ptr<kernels::HostMemory> memory = mover_->TryTurnImage();
  if (memory == nullptr) return;
  const absl::Status status = model_.ReadSlot(turn.cache().slot, kernels::SlotPart::kAll, memory->bytes())->Wait();
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
